"""Optical flow of equirectangular (ERP) video, as the colour images that models with 6 input channels read.

    python optical_flow.py --videos_folder=clips     (extracts frames first; what exists is kept)

A flow is (H, W, 2), float32: how far each pixel moves until the next sampled frame, to the right and down, in pixels
of the ERP frame at the size flow was computed at (at most flow_resolution rows). Towards the poles rows are stretched,
so a small motion there is many pixels. This is left as it is: the published models were trained on flow in ERP pixels.
The colour image shows direction as hue and length as saturation (Baker et al., IJCV 2011), full saturation being the
largest motion *of that frame*, as in RAFT's own viewer. No motion anywhere is white.
"""

from errors import InputError, run  # first, since it settles the terminal and Ctrl-C

# isort: split
import config
from settings import answer_at_once

if __name__ == "__main__":
    answer_at_once(config)  # before PyTorch and other packages are imported, which takes seconds

from pathlib import Path

from distributed import choose_device
from files import list_folders
from flow.folders import provide_flow, resolve_flow_dir
from flow.methods import flow_settings
from provenance import check_outputs
from settings import configure
from video.extraction import extract_frames


def main(argv):
    configure(config, argv)
    frames_dir = Path(config.videos_folder, "frames")
    check_outputs({"optical_flow_dir": resolve_flow_dir(config.optical_flow_dir, frames_dir)},
                  {"videos_folder": config.videos_folder, "the folder of frames": frames_dir},
                  may_hold=["videos_folder"], alone=["optical_flow_dir"])
    device = choose_device(config.device)
    problems = extract_frames(config.videos_folder, config.stereo_layout, config.projection,
                              config.frames_ids == "name")
    ids = [folder.name for folder in list_folders(frames_dir)] if frames_dir.is_dir() else []
    if not ids and not problems:
        raise InputError(f"{config.videos_folder} holds neither videos nor frames/ID/ID_FRAME.png")
    settings = flow_settings(config)._replace(compute=True)  # what this script is for
    problems += provide_flow(frames_dir, ids, settings, device)[1]
    if problems:
        raise InputError("\n".join(problems))


if __name__ == "__main__":
    run(main)
