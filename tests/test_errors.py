import io
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT
from tqdm import tqdm

import errors
from errors import InputError, exit_code


def test_exit_codes(capsys):
    def fail(error):
        raise error

    assert exit_code(lambda: None) == 0
    assert exit_code(lambda: fail(InputError("one\ntwo"))) == 1
    assert capsys.readouterr().err == "error: one\nerror: two\n"
    assert exit_code(lambda: fail(OSError(28, "No space left on device", "maps/a.png"))) == 1
    assert "No space left on device: maps/a.png; free some space" in capsys.readouterr().err
    assert exit_code(lambda: fail(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 / 0)


def test_nobody_waits_for_ever_for_progress_bars_that_an_interruption_left_locked(monkeypatch):
    """Ctrl-C inside tqdm's `refresh` leaves the lock held; a thread that warned then kept the script from ending."""
    monkeypatch.setattr(errors.BarLock, "PATIENCE", 0.05)
    before = tqdm.get_lock()
    tqdm.set_lock(errors.BarLock())
    try:
        with tqdm(total=2, file=io.StringIO()) as bar:
            bar.get_lock().acquire()  # and never released
            warned = threading.Thread(target=lambda: tqdm.write("warning", file=io.StringIO()), daemon=True)
            warned.start()
            warned.join(10)
            assert not warned.is_alive()
    finally:
        tqdm.set_lock(before)


def test_an_interrupted_script_does_not_wait_for_its_threads():
    """The kernels compile in threads, which took a minute after Ctrl-C."""
    code = """
import threading, time, errors
def main(argv):
    threading.Thread(target=time.sleep, args=[60]).start()
    raise KeyboardInterrupt
errors.IN_CHARGE, errors.GRACE = True, 0.2
errors.run(main)
"""
    start = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (ended.returncode, time.monotonic() - start < 30) == (130, True)
    assert ended.stderr == "\ninterrupted; the same command continues where it stopped\n"
