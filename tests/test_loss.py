"""The training loss, by its formula in loops, by its symmetries and by its gradient."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from loss import SphericalKLDiv
from metrics import cc
from sphere import solid_angle

FORMS = "published", "proper", "proper_cc"
GOLDEN = Path(__file__).parents[2] / "shared/golden/loss.npz"


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_published_equals_the_authors_numbers():
    if not GOLDEN.exists():
        pytest.skip("../shared/golden/loss.npz is not here")
    golden = {name: torch.from_numpy(array) for name, array in np.load(GOLDEN).items()}
    pred = golden["pred"].requires_grad_()
    loss = SphericalKLDiv("published")(pred, golden["target"])
    loss.sum().backward()
    torch.testing.assert_close(loss, golden["loss"], rtol=0, atol=1e-6)
    assert (pred.grad - golden["grad_pred"]).norm() < 1e-5 * golden["grad_pred"].norm()


def test_published_is_the_formula_in_loops():
    pred, target, e = maps(2, 3, 6, 10), maps(2, 3, 6, 10, seed=1), 1e-8
    loss = SphericalKLDiv("published")(pred, target)
    for b in range(2):
        for f in range(3):
            p, t = pred[b, f].numpy(), target[b, f].numpy()
            p, t = ((m - m.min()) / (m.max() - m.min() + e) for m in (p, t))
            p, t = (m / (m.sum() + e) for m in (p, t))
            expected = 0
            for i in range(6):
                sine = (math.sin(i * math.pi / 6) + math.sin((i + 1) * math.pi / 6)) / 2
                for j in range(10):
                    weight = (2 * math.pi / 10) * (math.pi / 6) * sine
                    expected += weight * t[i, j] * math.log(t[i, j] / (p[i, j] + e) + e)
            assert loss[b, f].item() == pytest.approx(expected, rel=1e-12)


def test_proper_is_smallest_at_the_target_and_published_is_not():
    target = maps(1, 1, 6, 10)
    target[..., 0, 0] = 0  # where the minimum stands, stretching leaves weight x target as it is
    tilted = target * solid_angle(6, 10)

    def gradient(form, start):
        pred = start.clone().requires_grad_()
        return torch.autograd.grad(SphericalKLDiv(form)(pred, target).sum(), pred)[0].abs().max().item()

    assert SphericalKLDiv("proper")(target, target).item() == pytest.approx(0, abs=1e-15)
    assert gradient("proper", target) < 1e-7
    assert gradient("proper", tilted) > 1e-3
    published = SphericalKLDiv("published")
    assert published(tilted, target) < published(target, target)
    assert gradient("published", tilted) < 1e-2 * gradient("published", target)


def test_proper_is_a_divergence_in_nats():
    area = solid_angle(7, 12)
    target = maps(1, 8, 7, 12)
    pred = maps(1, 8, 7, 12, seed=1)
    loss = SphericalKLDiv("proper")(pred, target)
    assert (loss > 0).all()
    t, p = (area * (m - m.amin((-2, -1), keepdim=True)) for m in (target, pred))
    t, p = (m / m.sum((-2, -1), keepdim=True) for m in (t, p))
    e = 1e-8  # bounds the term of the pixel that the stretching sets to zero
    expected = ((t + e) * torch.log((t + e) / (p + e))).sum((-2, -1))
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    assert (SphericalKLDiv("proper")(target, pred) - loss).abs().min() > 1e-3  # and not symmetric


def test_proper_cc_adds_what_the_correlation_lacks():
    pred, target = maps(2, 3, 7, 12), maps(2, 3, 7, 12, seed=1)
    rest = SphericalKLDiv("proper_cc")(pred, target) - SphericalKLDiv("proper")(pred, target)
    torch.testing.assert_close(rest, 1 - cc(pred, target, solid_angle(7, 12)), rtol=0, atol=1e-10)
    assert SphericalKLDiv("proper_cc")(target, 2 * target + 1).abs().max() < 1e-7


@pytest.mark.parametrize("form", FORMS)
def test_ignores_affine_changes_and_turns(form):
    loss = SphericalKLDiv(form)
    pred, target = maps(2, 3, 6, 10), maps(2, 3, 6, 10, seed=1)
    expected = loss(pred, target)
    torch.testing.assert_close(loss(3 * pred - 7, 255 * target), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(loss(pred.roll(3, -1), target.roll(3, -1)), expected)
    singles = torch.stack([loss(pred[b:b + 1, f:f + 1], target[b:b + 1, f:f + 1])[0, 0]
                           for b in range(2) for f in range(3)])
    torch.testing.assert_close(singles.view(2, 3), expected)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_by_differences(form):
    loss = SphericalKLDiv(form)
    target = maps(1, 2, 4, 7)
    pred = maps(1, 2, 4, 7, seed=1).requires_grad_()
    # steps well below e: the term of the smallest pixel turns within e
    assert torch.autograd.gradcheck(lambda x: loss(x, target), pred, eps=1e-10, atol=1e-3, rtol=1e-3)


def test_finite_for_a_constant_prediction_and_sparse_targets():
    target = torch.zeros(1, 2, 6, 10)
    target[..., 2, 3] = 1
    for form in FORMS:
        pred = torch.zeros(1, 2, 6, 10, requires_grad=True)
        loss = SphericalKLDiv(form)(pred, target)
        loss.sum().backward()
        assert loss.isfinite().all()
        assert pred.grad.isfinite().all()


def test_weights_follow_size_and_dtype_and_stay_out_of_the_state():
    loss = SphericalKLDiv("proper")
    for size, dtype in [((6, 10), torch.float64), ((6, 10), torch.float32), ((5, 10), torch.float32)]:
        value = loss(maps(1, 1, *size, dtype=dtype), maps(1, 1, *size, seed=1, dtype=dtype))
        assert value.dtype == dtype
        assert loss.weight.sum().item() == pytest.approx(4 * math.pi, rel=1e-6)
        built = loss.weight
        loss(maps(1, 1, *size, dtype=dtype), maps(1, 1, *size, seed=1, dtype=dtype))
        assert loss.weight is built
    assert not loss.state_dict()


def test_bfloat16_maps_are_summed_in_float32():
    pred, target = maps(1, 1, 60, 80, dtype=torch.float32), maps(1, 1, 60, 80, seed=1, dtype=torch.float32)
    loss = SphericalKLDiv("proper")
    value = loss(pred.bfloat16(), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(pred.bfloat16().float(), target))


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_constant_target_is_an_error_with_its_place(value):
    target = maps(2, 3, 6, 10)
    target[1, 2] = value
    with pytest.raises(ValueError, match=r"clip 1 frame 2 of the batch"):
        SphericalKLDiv("published")(maps(2, 3, 6, 10), target)


def test_wrong_arguments():
    with pytest.raises(ValueError, match='"published", "proper" or "proper_cc"'):
        SphericalKLDiv("correct")
    with pytest.raises(ValueError, match=r"\(B, T, H, W\), got \(1, 2, 6, 10\) and \(1, 2, 10, 6\)"):
        SphericalKLDiv("proper")(maps(1, 2, 6, 10), maps(1, 2, 10, 6))
    with pytest.raises(ValueError, match="must both be"):
        SphericalKLDiv("proper")(maps(6, 10), maps(6, 10))
