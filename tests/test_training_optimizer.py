"""The schedules of the learning rate, and Muon."""

import pytest
import torch

from training.optimizer import Muon, learning_rate, orthogonalise


def test_lr_schedules():
    assert [learning_rate("constant", 0.8, 10, done) for done in (0, 5, 9)] == [0.8] * 3
    rates = [learning_rate("cosine", 0.8, 10, done) for done in range(11)]
    assert rates == sorted(rates, reverse=True)
    assert [rates[0], rates[5], rates[10]] == pytest.approx([0.8, 0.4, 0])


def parameter_with_gradient(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parameter = torch.nn.Parameter(torch.randn(shape, generator=generator))
    parameter.grad = torch.randn(shape, generator=generator)
    return parameter


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (1, 5), (12, 12)])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_orthogonalise_keeps_directions_and_evens_out_their_lengths(shape, scale):
    rows, columns = shape
    count = min(shape)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=torch.Generator().manual_seed(1)))[0][:, :count]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=torch.Generator().manual_seed(2)))[0][:, :count]
    lengths = torch.logspace(0, -2, count) if count > 1 else torch.ones(1)
    found = left.T @ orthogonalise(scale * left * lengths @ right.T) @ right
    off_diagonal = found - torch.diag(found.diagonal())
    assert off_diagonal.abs().max() < 1e-4
    assert 0.65 < found.diagonal().min() <= found.diagonal().max() < 1.25


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_biases_take_the_steps_of_adam():
    ours, theirs = (parameter_with_gradient(7) for _ in range(2))
    muon, adam = Muon([ours], lr=0.01), torch.optim.Adam([theirs], lr=0.01)
    for k in range(20):
        ours.grad = theirs.grad = parameter_with_gradient(7, seed=k).grad
        muon.step()
        adam.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 5, 3, 3), (4, 9, 3, 3), (80, 2, 3, 3)])
def test_kernels_take_steps_as_long_as_adams_in_a_direction_that_descends(shape):
    kernel = parameter_with_gradient(*shape)
    before = kernel.detach().clone()
    Muon([kernel], lr=0.5).step()
    step = before - kernel.detach()
    assert 0.5 * 0.2 * 0.65 < step.square().mean().sqrt() < 0.5 * 0.2 * 1.25  # Adam's are about 0.2 lr
    assert (step * kernel.grad).sum() > 0


def test_weight_decay_is_apart_from_the_gradient():
    kernel, bias = parameter_with_gradient(4, 3, 3, 3), parameter_with_gradient(4)
    kernel.grad, bias.grad = torch.zeros_like(kernel), torch.zeros_like(bias)
    expected = [0.95 * kernel.detach(), 0.95 * bias.detach()]
    Muon([kernel, bias], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(kernel, expected[0]) and torch.allclose(bias, expected[1])


def test_directions_of_small_gradients_are_learnt_as_fast():
    """A kernel behind inputs one of which is a thousand times weaker: gradient descent hardly sees that one."""
    strengths = torch.logspace(0, -3, 6)[None, :, None, None]
    aim = torch.randn(6, 6, 1, 1, generator=torch.Generator().manual_seed(7))

    def learn(make):
        kernel = torch.nn.Parameter(torch.zeros(6, 6, 1, 1))
        optimizer = make([kernel])
        for k in range(300):
            optimizer.param_groups[0]["lr"] = 0.2 * (1 - k / 300)
            optimizer.zero_grad()
            ((kernel - aim) * strengths).square().sum().backward()
            optimizer.step()
        return (kernel - aim).abs().mean().item()  # not the largest: it depends on how a processor rounds

    assert learn(lambda kernels: Muon(kernels, lr=0.2)) < 0.3 * learn(lambda kernels: torch.optim.SGD(kernels, lr=0.2))
