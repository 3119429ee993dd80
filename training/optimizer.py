"""Optimizers by name, and the learning rate's schedule. Muon, with which SST-Sal needs half of Adam's steps, is written
out here: PyTorch's own takes only matrices, not the kernels of convolutions."""

import math

import torch


def learning_rate(schedule, lr, epochs, done):
    """The learning rate after `done` of `epochs`, parts of an epoch included. schedule: "constant", or "cosine", half a
    wave from lr down to 0. It falls a little at each step, so that a single epoch ends as gently as many."""
    return lr if schedule == "constant" else lr * (1 + math.cos(math.pi * done / epochs)) / 2


def orthogonalise(matrix):
    """Roughly U V' for a matrix U S V' (m, n): its singular values become 0.7 to 1.2, except those below some 1e-3 of
    the largest. These are five Newton-Schulz steps with the coefficients of Jordan et al. They consist of matrix
    products only, which a GPU computes without waiting for the host."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024): the momentum of a kernel (O, I, 3, 3), read as a matrix (O, 9 I), is made orthogonal
    before it is used as a step. So the directions in which gradients are small are learnt as fast as the others. Biases
    are updated with Adam's steps.

    lr: as for Adam, since the steps of kernels are scaled to be as long as Adam's (Liu et al., "Muon is scalable for
    LLM training", 2025, section 2.2). weight_decay: decoupled, as in AdamW.
    """

    MOMENTUM = 0.95
    BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's

    def __init__(self, parameters, lr, weight_decay=0.0):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    direction = self._orthogonal if parameter.ndim > 1 else self._adam
                    update = direction(parameter.grad, self.state[parameter])
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])

    def _orthogonal(self, gradient, state):
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].lerp_(gradient, 1 - self.MOMENTUM)
        matrix = gradient.lerp(momentum, self.MOMENTUM).flatten(1)  # Nesterov's: half a step ahead
        return orthogonalise(matrix).view_as(gradient) * (0.2 * max(matrix.shape) ** 0.5)

    def _adam(self, gradient, state):
        if not state:
            state.update(step=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        state["step"] += 1
        mean = state["mean"].lerp_(gradient, 1 - self.BETAS[0])
        square = state["square"].lerp_(gradient.square(), 1 - self.BETAS[1])
        mean_bias, square_bias = (1 - beta ** state["step"] for beta in self.BETAS)
        return (mean / mean_bias) / ((square / square_bias).sqrt() + self.EPSILON)


OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon}
