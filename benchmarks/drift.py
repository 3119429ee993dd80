"""What a state that is never begun anew does to the maps: `python benchmarks/drift.py VIDEO [MODEL]`

Writes, for every five seconds of the video, the mean CC (plain) of the maps of one long recurrence with the maps of the
windows that inference.py and live.py predict in.
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import config
from benchmarks import report
from errors import run
from metrics import cc
from model import load_model
from prediction import computed_colours
from video.decode import SAMPLES_PER_SECOND, sampled
from windows import SteppedWindows, model_inputs

SPAN = 5                    # seconds
ENDLESS = sys.maxsize // 2  # frames


def main(argv):
    video, model_file = argv[0], argv[1] if len(argv) > 1 else config.inference_model
    device = torch.device("cpu")
    model = load_model(model_file, device)
    colours = computed_colours(config, device) if model.input_dim == 6 else None
    windowed = SteppedWindows(model, config.sequence_length, config.overlap, device)
    endless = SteppedWindows(model, ENDLESS, 0, device)
    scores = []
    for read in model_inputs(sampled(video), config.resolution, colours):
        scores.append(cc(*(torch.from_numpy(step(read)) for step in (windowed, endless))).item())
    with report.written("drift", argv, device) as line:
        line("Mean CC of the maps of one long recurrence with those of windows:\n\n| seconds | CC |\n|---|---|")
        for start in range(0, len(scores), SPAN * SAMPLES_PER_SECOND):
            part = scores[start : start + SPAN * SAMPLES_PER_SECOND]
            line(f"| {start // SAMPLES_PER_SECOND} to {start // SAMPLES_PER_SECOND + SPAN} | {np.mean(part):.3f} |")


if __name__ == "__main__":
    run(main)
