import json
import multiprocessing
import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import plain_name, whole_number
from errors import InputError
from files import HOST, clear_partials, read_json, replacing
from provenance import ENDS, Ledger, check_outputs, claimed, fingerprint, fingerprint_files, remove_own


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "/etc", "a\\b", "a\x1b[2J", "a\nb", "x" * 300, None, 3,
                                  ["a"], "caf\udce9"])
def test_what_is_no_plain_name(name):
    with pytest.raises(InputError, match=r"row 3: .* is not the plain name"):
        plain_name(name, "row 3")


@given(st.text())
def test_a_plain_name_stays_in_its_folder(text):
    try:
        plain_name(text, "")
    except InputError:
        return
    assert os.path.basename(os.path.normpath(os.path.join("folder", text))) == text  # noqa: PTH118, PTH119


@pytest.mark.parametrize("value", ["-1", "1.5", "", "9" * 30, None, True, [], "٣", 10**18, " 1"])
def test_what_is_no_whole_number(value):
    with pytest.raises(InputError, match="whole number in"):
        whole_number(value, "a.csv")


@pytest.mark.parametrize("content", [b"", b"[" * 10**5, b"\xff", b"3", b"[1]", b'{"a": ' + b"9" * 10**5 + b"}"])
def test_json_that_is_none_is_nothing(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") == {} == read_json(tmp_path / "none.json")


def test_a_fingerprint_is_of_content_and_not_of_time(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(os.urandom(ENDS) + b"middle" + os.urandom(ENDS))
    first = fingerprint(path)
    os.utime(path, (0, 0))
    assert fingerprint(path) == first
    for position in (0, ENDS - 1, ENDS + 6, 2 * ENDS + 5):
        data = bytearray(path.read_bytes())
        data[position] ^= 1
        path.write_bytes(data)
        assert fingerprint(path) != first
        first = fingerprint(path)
    assert fingerprint_files([path])["files"] == 1
    assert fingerprint_files([path, tmp_path / "missing"]) != fingerprint_files([path])


def test_a_ledger_survives_a_kill_in_the_middle_of_a_line(tmp_path):
    ledger = Ledger(tmp_path / "record", tmp_path)
    ledger.begin({"source": 1}, {})
    for name in ("a.png", "b.png"):
        ledger.write(name, name.encode())
    ledger.close()
    (tmp_path / "record").write_text((tmp_path / "record").read_text()[:-3])
    again = Ledger(tmp_path / "record", tmp_path)
    assert (again.made_from, again.holds("a.png"), again.holds("b.png")) == ({"source": 1}, True, False)
    (tmp_path / "a.png").write_text("other")
    assert not again.holds("a.png")
    remove_own(tmp_path, again.entries)
    assert (tmp_path / "a.png").read_text() == "other"  # this is not what was written


def hold(folder, purpose, seconds):
    with claimed(folder, purpose, "results_dir"):
        (folder / "begun").touch()
        time.sleep(seconds)


def held(folder, seconds):
    process = multiprocessing.get_context("fork").Process(target=hold, args=(folder, "one", seconds))
    process.start()
    while not (folder / "begun").exists():
        time.sleep(0.01)
    return process


def test_a_folder_is_claimed_by_one_description_at_a_time(tmp_path):
    process = held(tmp_path, 0.7)
    with pytest.raises(InputError, match=rf"in use by process {process.pid} on {HOST}, with other settings"):
        hold(tmp_path, "two", 0)
    start = time.monotonic()
    hold(tmp_path, "one", 0)
    assert time.monotonic() - start > 0.2
    process.join()
    assert [path.name for path in tmp_path.iterdir()] == ["begun"]


def test_a_killed_process_claims_nothing(tmp_path):
    process = held(tmp_path, 60)
    process.kill()
    process.join()
    hold(tmp_path, "two", 0)


def write_partial(folder, seconds):
    with replacing(folder / "a.txt") as partial:
        partial.write_text("half")
        time.sleep(seconds)


def test_partial_files_of_the_dead_are_cleared_and_no_others(tmp_path):
    (tmp_path / ".mine.partial").write_text("the user's")
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=write_partial, args=(tmp_path, 60)) for _ in range(2)]
    for process in processes:
        process.start()
    while len(list(tmp_path.glob(".a.txt.*.partial"))) < 2:
        time.sleep(0.01)
    names = [path.name for path in tmp_path.glob(".a.txt.*.partial")]
    assert all(re.fullmatch(rf"\.a\.txt\.{HOST}-\d+-[0-9a-f]{{8}}\.partial", name) for name in names)
    processes[0].kill()
    processes[0].join()
    clear_partials(tmp_path)
    left = [path.name for path in tmp_path.glob(".a.txt.*.partial")]
    assert len(left) == 1 and f"-{processes[1].pid}-" in left[0]
    processes[1].kill()
    processes[1].join()
    clear_partials(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".mine.partial"]


def test_outputs_must_not_meet_inputs(tmp_path):
    clips = tmp_path / "clips"
    (clips / "frames").mkdir(parents=True)
    (tmp_path / "link").symlink_to(clips)
    inputs = {"videos_folder": clips, "frames": clips / "frames"}
    for path in (clips, tmp_path / "link", clips / "frames", clips / "frames" / "x", tmp_path / "link" / "frames",
                 tmp_path, clips / "saliency" / ".." / "frames"):
        with pytest.raises(InputError, match=r"results_dir .* is (the same as|inside|around)"):
            check_outputs({"results_dir": path}, inputs, may_hold=["videos_folder"], alone=["results_dir"])
    check_outputs({"results_dir": clips / "saliency"}, inputs, may_hold=["videos_folder"], alone=["results_dir"])
    check_outputs({"results_dir": tmp_path / "results", "live_file": ""}, {**inputs, "flow": ""}, alone=["results_dir"])


def test_a_record_of_anything_is_read_without_a_traceback(tmp_path):
    for text in ("", "[]\n", '{"a": 1}\nzz\n', json.dumps({"a": 1}) + "\n" + "0" * 20 + " ../x\n", "[" * 10**5):
        (tmp_path / "record").write_text(text)
        assert Ledger(tmp_path / "record", tmp_path).entries == {}
