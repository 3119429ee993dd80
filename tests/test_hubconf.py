"""torch.hub.load of the working tree, from a program that has modules of the same names."""

import os
import subprocess
import sys

import numpy as np
from conftest import ROOT, noise_frames
from processes import Script, end_job

from inference import predict
from kernels.gemm import padded
from model import load_model

PROGRAM = """
import sys
import numpy as np
import torch
import config, errors, files, utils

model = torch.hub.load(sys.argv[1], "sst_sal", source="local", flow=False)
frames = np.load("frames.npy")
maps = torch.hub.load(sys.argv[1], "predict", frames, model, source="local", resolution=(12, 16))
np.save("maps.npy", np.stack(list(maps)))
from video import mine
assert (config.mine, errors.mine, files.mine, utils.mine, mine) == (1, 2, 3, 4, 5)
assert torch.hub.load(sys.argv[1], "sst_sal", source="local", flow=True).input_dim == 6
try:
    torch.hub.load(sys.argv[1], "predict", frames, model, source="local", resolutoin=(12, 16))
except Exception as problem:
    print(problem)
"""

COMPILED = """
import sys
import torch
torch.hub.load(sys.argv[1], "sst_sal", source="local", flow=False)
from sst_sal_hub.kernels.gemm import padded
print(padded(5, 4), padded.stats.cache_path)
"""


def test_the_model_and_predict_from_a_program_with_modules_of_the_same_names(tmp_path):
    frames = np.stack(noise_frames(5, 32, 64, seed=0))
    np.save(tmp_path / "frames.npy", frames)
    for value, name in enumerate(("config.py", "errors.py", "files.py", "utils.py", "video.py"), start=1):
        (tmp_path / name).write_text(f"mine = {value}\n")
    # in plain PyTorch: to compile the kernels once more, under other names, takes too long for a test
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = subprocess.run([sys.executable, "program.py", ROOT], cwd=tmp_path, capture_output=True, text=True,
                           timeout=100, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "there is no setting 'resolutoin'; did you mean resolution?\n"
    model = load_model(ROOT / "models" / "SST_Sal_wo_OF.pth", "cpu")
    expected = np.stack(list(predict(frames, model, resolution=(12, 16))))
    assert np.allclose(np.load(tmp_path / "maps.npy"), expected, atol=1e-5)


def test_compiled_functions_are_not_taken_from_those_of_the_plain_names(tmp_path):
    (tmp_path / "program.py").write_text(COMPILED)
    number, folder = end_job([Script(tmp_path / "program.py", ROOT)]).split()
    assert padded(5, 4) == int(number) == 8
    assert padded.stats.cache_path != folder
