import pytest
import torch

import distributed
from files import InputError


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_device(name):
    if name:
        with pytest.raises(InputError, match=f"device must be one that this PyTorch can use.*{name}"):
            distributed.choose_device(name)
    else:
        assert torch.empty(0, device=distributed.choose_device(name)).numel() == 0


def test_a_process_by_itself():
    assert distributed.join("cpu") == torch.device("cpu")
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.total([1.5, 2, True], torch.device("cpu")) == [1.5, 2, 1]
    distributed.barrier()
    distributed.leave()
