"""The libraries that scripts import, for processes.py, which forks a process that has imported this module."""

import av  # noqa: F401
import cv2  # noqa: F401
import torch._dynamo  # noqa: F401
import tqdm  # noqa: F401
from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()  # imports what numba imports in each process
cpu_target.target_context.refresh()
