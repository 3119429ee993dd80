import io
import pickle
import re
import time
import zipfile
import zlib

import pytest
import torch

from errors import InputError
from model import SST_Sal, load_model, save_model
from model_files import check_archive, check_pickle


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    save_model(SST_Sal(3, 2, "exact", latitude=True), tmp_path / "a.pth", {"lr": 0.1})
    return tmp_path / "a.pth"


def refused(path, message=""):
    start = time.monotonic()
    with pytest.raises(InputError, match=message or None) as caught:
        load_model(path, "cpu")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - start < 2


def saved(path, change):
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, path)


def test_flipped_bits_of_weights_are_found(path):
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if "/data" in entry.filename]
    for entry in entries:
        data = bytearray(whole)
        data[entry.header_offset + 30 + 64 + entry.file_size // 2] ^= 4
        path.write_bytes(data)
        try:
            model = load_model(path, "cpu")
        except InputError:
            continue
        path.write_bytes(whole)
        ours = load_model(path, "cpu").state_dict()
        assert all(torch.equal(ours[name], value) for name, value in model.state_dict().items())  # it hit the padding


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(path, value):
    def spoil(checkpoint):
        checkpoint["state_dict"]["decoder.lstm.conv.bias"][1] = value

    saved(path, spoil)
    refused(path, "not finite")


@pytest.mark.parametrize("given", [{"hidden_dim": 3000}, {"hidden_dim": 10**20}, {"hidden_dim": -1}, {"input_dim": 2.0},
                                   {"hidden_dim": None}, {"geometry": []}, {"state_dict": 3}])
def test_sizes_out_of_bounds(path, given):
    saved(path, lambda checkpoint: checkpoint.update(given))
    refused(path)


def rezip(path, change, compression=zipfile.ZIP_STORED):
    """Writes the archive anew with the data of each entry changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(name, data))


def test_a_file_that_unpacks_to_much_more(path):
    rezip(path, lambda name, data: data + bytes(30_000_000) if name.endswith("/data/0") else data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, "compressed")


def test_a_storage_and_a_tensor_that_are_larger_than_their_file(path, tmp_path):
    saved(path, lambda checkpoint: checkpoint.update(state_dict={"a": torch.zeros(1).as_strided((4, 5), (0, 0))}))
    refused(path)
    save_model(SST_Sal(3, 2, "exact"), path, {})
    rezip(path, lambda name, data: data[:16] if name.endswith("/data/0") else data)
    refused(path)


@pytest.mark.parametrize("data", [b"\x80\x02" + b"]" * 200 + b"a" * 199 + b".", b"\x80\x02Nr\xff\xff\xff\x7f.",
                                  b"\x80\x02" + b"N0" * 400_000 + b"N.", pickle.dumps([[1]] * 3)[:-4]])
def test_pickles_that_would_take_much_memory(path, data):
    with pytest.raises((InputError, ValueError)):
        check_pickle(io.BytesIO(data), path)
    rezip(path, lambda name, before: data if name.endswith(".pkl") else before)
    refused(path)
    path.write_bytes(data)
    refused(path)


def test_names_that_no_model_needs_are_refused(path):
    rezip(path, lambda name, data: b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR." if name.endswith(".pkl") else data)
    refused(path, re.escape("builtins.bytearray"))


def test_what_holds_only_plain_types(path):
    assert check_archive(path)
    state = {"history": [{"epoch": 1, "loss": 0.5}] * 3, "step": torch.tensor(3.0), "a": (1, "b", None, [True])}
    torch.save(state, path)
    assert check_archive(path)
    assert zlib.crc32(b"") == 0
