import io
import threading

import pytest
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
