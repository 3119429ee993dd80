import pytest

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
