"""Dense inverse search on the sphere: motion across the seam is as good as anywhere else."""

import cv2
import numpy as np
import pytest
from flow_frames import moving, texture

from flow.dis import dis_flow


def unwrapped_flow(first, second):
    """DIS as it is for an ordinary picture."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (first, second)), None)


def roll_errors(panorama, columns, flow_of):
    """Mean distance of the flow from (columns, 0), pixels, between 60 degrees N and S where there is texture:
    everywhere, and within 16 columns of the seam."""
    flow = flow_of(panorama, np.roll(panorama, columns, axis=1))
    grey = cv2.cvtColor(panorama, cv2.COLOR_BGR2GRAY)
    textured = np.sqrt(cv2.blur(cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2, (9, 9))) > 30
    textured[: len(grey) // 6] = textured[-(len(grey) // 6) :] = False
    error = np.hypot(flow[..., 0] - columns, flow[..., 1])
    seam = np.zeros_like(textured)
    seam[:, :16] = seam[:, -16:] = True
    assert textured[seam].sum() > 500
    return error[textured].mean(), error[textured & seam].mean()


@pytest.mark.parametrize("columns", [4, 12, 24])
def test_rolled_texture_moves_by_as_much_across_the_seam_too(columns):
    panorama = texture(160, 320)
    everywhere, seam = roll_errors(panorama, columns, lambda *pair: dis_flow(pair))
    assert everywhere < 0.3 and seam < 0.3
    _, seam_unwrapped = roll_errors(panorama, columns, unwrapped_flow)
    print(columns, everywhere, seam, seam_unwrapped)
    assert seam_unwrapped > 10 * seam
    if columns == 24:  # fewer columns leave few without a match, and DIS guesses those from their neighbours
        assert seam_unwrapped > 1


@pytest.mark.parametrize("columns", [4, 12, 24])
@pytest.mark.parametrize("name", ["react360_chester_112362", "hdri_workshop", "pannellum_examplepano", "hdri_venice"])
def test_rolled_panorama(shared, name, columns):
    image = cv2.imread(str(shared / "panoramas" / f"{name}.jpg"))
    panorama = cv2.resize(image, (640, 320), interpolation=cv2.INTER_AREA)
    everywhere, seam = roll_errors(panorama, columns, lambda *pair: dis_flow(pair))
    assert everywhere < 0.3 and seam < 0.3
    _, seam_unwrapped = roll_errors(panorama, columns, unwrapped_flow)
    print(name, columns, everywhere, seam, seam_unwrapped)
    assert seam_unwrapped > 10 * seam
    if columns == 24:
        assert seam_unwrapped > 1


@pytest.mark.parametrize("height,width", [(12, 24), (13, 25), (40, 79), (90, 16)])
def test_flow_has_the_size_of_the_frames(height, width):
    frames = texture(height, width), texture(height, width, seed=1)
    flow = dis_flow(frames)
    assert flow.shape == (height, width, 2) and flow.dtype == np.float32 and np.isfinite(flow).all()


def test_flow_does_not_depend_on_what_came_before():
    frames = moving(2, 64, 128)
    expected = dis_flow(frames)
    dis_flow(moving(2, 12, 24))
    np.testing.assert_array_equal(dis_flow(frames), expected)
