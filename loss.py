"""The training loss: KL divergence between saliency maps on the sphere (section 3.3 of the paper). Maps are
equirectangular; letters as in model.py."""

import math

import torch
from torch import nn

from sphere import solid_angle

EPSILON = 1e-8  # the published e: keeps quotients and logarithms finite where a map is zero


def _check_target(target):
    constant = ~(target.amax(dim=(-2, -1)) > target.amin(dim=(-2, -1)))  # written so that NaN counts as constant
    if constant.any():
        places = ", ".join(f"clip {clip} frame {frame}" for clip, frame in constant.nonzero()[:5].tolist())
        raise ValueError(f"target maps must not be constant or NaN, got such a map at {places} of the batch")


def _stretch(maps):
    """Maps stretched to [0, 1], frame by frame."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low + EPSILON)


def _normalise(maps):
    """Maps divided by their sum, frame by frame."""
    return maps / (maps.sum(dim=(-2, -1), keepdim=True) + EPSILON)


def _correlation(pred, target, weight):
    """Pearson's correlation of the pixels of each frame, weighted. For a constant map, which has no `metrics.cc`, it
    has a finite gradient; and it keeps the maps' precision."""
    area = weight / weight.sum()
    pred, target = (maps - (area * maps).sum(dim=(-2, -1), keepdim=True) for maps in (pred, target))
    variances = (area * pred.square()).sum(dim=(-2, -1)) * (area * target.square()).sum(dim=(-2, -1))
    return (area * pred * target).sum(dim=(-2, -1)) / torch.sqrt(variances + EPSILON**2)


class SphericalKLDiv(nn.Module):
    """KL divergence of target from prediction for each frame, (B, T, H, W) x 2 -> (B, T). Each map is first stretched
    to [0, 1] by its own minimum and maximum, so an affine change of a map with a positive factor does not change the
    loss.

    `published`: as the authors train. Maps sum to 1 over pixels, and each term of the sum is weighted by solid angle.
    This is no divergence on the sphere: it can be negative, and it is smallest not at pred = target but where pred is
    proportional to solid angle x target. Its values are of the order of one pixel's solid angle, which suits the
    published lr of 0.8.

    `proper`: maps times solid angle sum to 1, so the sum is a divergence, in nats: never negative, and 0 only where
    pred and target agree. Values are larger than `published` ones by about W H / (2 pi^2), 4000 at 240 x 320, and the
    lr has to be smaller accordingly.

    `proper_cc`: `proper` plus 1 - CC, the correlation of the maps over the sphere: the two most used scores at once.

    Raises ValueError for shapes that differ, and for a target frame that is constant or not finite, which says nothing
    about where people look. check_targets: False if they are known not to be; on a GPU, the host waits for the check.
    """

    def __init__(self, form, check_targets=True):
        super().__init__()
        if form not in ("published", "proper", "proper_cc"):
            raise ValueError(f'the loss must be "published", "proper" or "proper_cc", got {form!r}')
        self.form, self.check_targets = form, check_targets
        self.register_buffer("weight", torch.empty(0, 0), persistent=False)  # (H, W), built at the first call

    def forward(self, pred, target):
        if pred.shape != target.shape or pred.ndim != 4:
            raise ValueError(f"pred and target must both be (B, T, H, W), got {(*pred.shape,)} and {(*target.shape,)}")
        _, _, H, W = pred.shape
        dtype = torch.promote_types(pred.dtype, torch.float32)  # the 8 bits of bf16 cannot sum 10^4 pixels
        pred, target = pred.to(dtype), target.to(dtype)
        if self.weight.shape != (H, W) or self.weight.dtype != dtype or self.weight.device != pred.device:
            self.weight = self._build_weight(H, W).to(pred.device, dtype)
        if self.check_targets:
            _check_target(target)

        pred, target = _stretch(pred), _stretch(target)
        if self.form == "published":
            p, t = _normalise(pred), _normalise(target)
            return (self.weight * t * torch.log(t / (p + EPSILON) + EPSILON)).sum(dim=(-2, -1))  # (B, T)
        p, t = _normalise(self.weight * pred) + EPSILON, _normalise(self.weight * target) + EPSILON
        divergence = (t * torch.log(t / p)).sum(dim=(-2, -1))
        return divergence if self.form == "proper" else divergence + 1 - _correlation(pred, target, self.weight)

    def _build_weight(self, height, width):
        """Solid angles (H, W). `published` has the authors' trapezoid rule, (2 pi / W) (pi / H) times the mean sine of
        colatitude at a row's two edges, which is the solid angle times a constant, the same in every row."""
        if self.form != "published":
            return solid_angle(height, width)
        half_step = math.pi / height / 2
        return solid_angle(height, width) * (half_step / math.tan(half_step))
