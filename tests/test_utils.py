import subprocess
import sys

from conftest import ROOT


def test_frames_extraction_from_a_shell(videos, tmp_path, script):
    code = f"from utils import frames_extraction; frames_extraction({str(videos)!r}); print('done')"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "done\n")
    assert len(list((videos / "frames" / "000").glob("*.png"))) == 10
    (videos / "c.mp4").write_text("not a video")
    result = script("utils.py", "frames_extraction", videos)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "c.mp4" in result.stderr
    assert "Traceback" not in result.stderr
    assert "usage" in script("utils.py").stderr


def test_settings_files_extraction_and_gaze_import_no_torch():
    """It takes seconds, for which `--help` need not wait, and 600 MB."""
    code = "import sys, settings, files, utils, gaze; print({'torch', 'torchvision', 'numba'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr
