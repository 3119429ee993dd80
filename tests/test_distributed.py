import json
from pathlib import Path

import pytest
import torch
from processes import end_job, start_job

import distributed
from errors import InputError

ROOT = Path(distributed.__file__).parent


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_device(name):
    if name:
        with pytest.raises(InputError, match=f"device must be one that this PyTorch can use.*{name}"):
            distributed.choose_device(name)
    else:
        assert torch.empty(0, device=distributed.choose_device(name)).numel() == 0


def test_a_process_by_itself():
    assert distributed.join_process_group("cpu") == torch.device("cpu")
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.sum_over_processes([1.5, 2, True], torch.device("cpu")) == [1.5, 2, 1]
    distributed.barrier()
    distributed.leave_process_group()


def test_processes_share_videos_out_and_write_nothing_twice(videos, small_model):
    (videos / "c.mp4").write_bytes((videos / "b.mp4").read_bytes())  # an odd number
    settings = (f"--videos_folder={videos}", f"--inference_model={small_model}", "--of_available=False", "--device=cpu",
                "--resolution=(12, 16)", "--sequence_length=4", "--overlap=1", "--num_workers=0")
    printed = end_job(start_job(2, "inference.py", *settings, cwd=videos.parent))
    results = videos.parent / "results"
    assert [len(list((results / f"00{number}").glob("*.png"))) for number in range(3)] == [10, 5, 5]
    assert json.loads((results / "run.json").read_text())["frames"] == 20  # as many as there are files
    for number in range(3):
        assert (results / f"00{number}.mp4").exists() and printed.count(f"{number:03d} ") == 1
