"""The programs for GPUs against the reference: on CPU tensors if TRITON_INTERPRET=1, else on a GPU.
test_kernels_cuda.py runs this file in a process of its own, since Triton reads that variable when it is imported."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import triton
from triton.runtime import interpreter

import model
from kernels import cuda, reference
from kernels.taps import GEOMETRIES

DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)


@pytest.fixture(scope="module", autouse=True)
def patched_once():
    """The interpreter patches triton.language anew for each call of a function, and looks for an overflow after each
    operation, which is most of its time: here it patches once for each module whose functions it runs, and looks for
    none. Where a later Triton has no such function, this changes nothing."""
    patch, patched = getattr(interpreter, "_patch_lang", None), set()

    def patch_once(function):
        if id(function.__globals__) not in patched:
            patched.add(id(function.__globals__))
            patch(function)
        return SimpleNamespace(restore=lambda: None)

    if DEVICE == "cpu" and patch:
        interpreter._patch_lang = patch_once
        options = interpreter.interpreter_builder.options
        interpreter.interpreter_builder.options = dataclasses.replace(options, sanitize_overflow=False)


def tensors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape).to(DEVICE).requires_grad_() for shape in shapes]


def results(layer, inputs):
    """(outputs, gradients of the inputs), for random gradients of the outputs."""
    outputs = layer(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.manual_seed(1)
    total = sum((output * torch.randn(output.shape).to(DEVICE)).sum() for output in outputs)  # a scalar: see `equal`
    return outputs, torch.autograd.grad(total, [each for each in inputs if each.requires_grad])


def equal(ours, theirs, tolerance):
    """Asserts that tensors agree. (`torch.testing` imports for seconds, and so do gradients given to autograd.)"""
    for one, other in zip(ours, theirs, strict=True):
        one, other = one.detach().cpu(), other.detach().cpu()
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def check(name, inputs, *arguments):
    """Compares a function of cuda with that of reference, there without `recomputed`: that imports slowly."""
    ours, theirs = (results(lambda *each, layer=layer: layer(*each, *arguments), inputs)
                    for layer in (getattr(cuda, name), getattr(reference, name).__wrapped__))
    equal(ours[0], theirs[0], 1e-5)
    equal(ours[1], theirs[1], 1e-4)
    return ours


def test_convolution_twice_bit_for_bit(monkeypatch):
    """With a batch, whose rows are one sum of the gradient."""
    monkeypatch.setattr(cuda, "PARTS", 1)
    inputs = tensors((2, 1, 1, 8), (2, 1, 3, 3), (2,))
    first, second = check("conv", inputs, 1, "exact"), results(lambda *each: cuda.conv(*each, 1, "exact"), inputs)
    assert all(torch.equal(a, b) for one, other in zip(first, second) for a, b in zip(one, other))


@each_geometry
def test_convolution_with_a_stride(geometry):
    check("conv", tensors((1, 4, 3, 12), (3, 4, 3, 3), (3,)), 2, geometry)


@each_geometry
def test_max_pooling(geometry):
    check("max_pool", tensors((1, 5, 3, 12)), 2, geometry)


def test_equal_taps_share_the_gradient_and_nan_goes_through():
    x = torch.zeros(2, 2, 2, 8, device=DEVICE, requires_grad=True)
    check("max_pool", [x], 1, "exact")
    with torch.no_grad():
        x[0, 0, 1, 4] = torch.nan
        assert torch.equal(cuda.max_pool(x, 2, "exact").isnan(), reference.max_pool(x, 2, "exact").isnan())


@each_geometry
def test_lstm_step(geometry):
    check("lstm_step", tensors((1, 4, 3, 8), (1, 3, 3, 8), (1, 3, 3, 8), (12, 7, 3, 3), (12,)), geometry)


def test_lstm_step_with_a_batch_and_one_hidden_channel():
    check("lstm_step", tensors((2, 3, 1, 8), (2, 1, 1, 8), (2, 1, 1, 8), (4, 4, 3, 3), (4,)), "exact")


def test_lstm_step_without_a_state_and_without_gradients():
    x, hidden, cell, weight, bias = tensors((1, 3, 2, 8), (1, 0, 2, 8), (1, 2, 2, 8), (8, 3, 3, 3), (8,))
    with torch.inference_mode():
        ours, theirs = (module.lstm_step(x, hidden, cell, weight, bias, "exact") for module in (cuda, reference))
    equal(ours, theirs, 1e-5)
    x.requires_grad_(False)
    hidden.requires_grad_(False)
    check("lstm_step", [x, hidden, cell, weight, bias], "exact")


def test_frozen_weights_and_memory_in_another_order():
    x, hidden, cell = (torch.randn(8, 1, size, 1).to(DEVICE).permute(1, 2, 3, 0).requires_grad_() for size in (2, 1, 1))
    weight, bias = (each.requires_grad_(False) for each in tensors((4, 3, 3, 3), (4,)))
    grads = [torch.autograd.grad(step(x, hidden, cell, weight, bias, "exact")[1].sum(), [x, hidden, cell])
             for step in (cuda.lstm_step, reference.lstm_step.__wrapped__)]  # of a sum: one number for all pixels
    equal(*grads, 1e-4)
    conv = [torch.autograd.grad(conv(x, weight[:, :2], bias, 2, "released").sum(), [x])
            for conv in (cuda.conv, reference.conv.__wrapped__)]
    equal(*conv, 1e-4)


def test_training_keeps_little(monkeypatch):
    """The bytes that a window keeps for the backward pass, by hand, and what this is for the paper's."""
    def kept_by_hand(frames, channels, hidden, pixels):
        encoder = 4 * pixels * (channels + 6 * hidden)  # the input, the state before, the activated gates
        pool = pixels // 4 * 2 * hidden  # two bytes for each output
        decoder = 4 * pixels // 4 * (hidden + 6)
        return frames * (encoder + pool + decoder) + 4 * pixels * hidden + 4 * pixels // 4  # the last cells

    monkeypatch.setattr("spherical_conv.kernels_for", lambda x: cuda)
    monkeypatch.setattr("model.kernels_for", lambda x: cuda)
    network, kept = model.SST_Sal(3, 2, "exact", latitude=True).to(DEVICE), {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.rand(1, 2, 3, 2, 8, device=DEVICE))
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    found = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)
    assert 0.9 * kept_by_hand(2, 5, 2, 16) < found <= kept_by_hand(2, 5, 2, 16)
    backward = 4 * 240 * 320 * (4 + 5) * 36 + 4 * cuda.PARTS * 9 * 144 * 44  # of one step: gradients, and partial sums
    assert kept_by_hand(20, 8, 36, 240 * 320) + backward < 1.7e9


def test_many_programs_share_rows_outputs_and_sums(monkeypatch):
    """As large images and networks need them."""
    for name, value in (("COLUMNS", 16), ("SUMMED", 16), ("LARGEST_BLOCK", 16)):
        monkeypatch.setattr(cuda, name, value)
    inputs = tensors((1, 12, 1, 18), (1, 5, 1, 18), (1, 5, 1, 18), (20, 17, 3, 3), (20,))
    inputs[0].requires_grad_(False)  # as the frames
    check("lstm_step", inputs, "released")


def test_the_second_sum_of_a_program(monkeypatch):
    monkeypatch.setattr(cuda, "output_blocks", lambda count: ({"BLOCK": 32, "REST": 16}, 1))
    check("lstm_step", tensors((1, 2, 1, 8), (1, 9, 1, 8), (1, 9, 1, 8), (36, 11, 3, 3), (36,)), "exact")


def test_reduced_precision_where_autocast_asks_for_it(monkeypatch):
    numbers = cuda.precision()
    assert (str(numbers["TYPE"]), numbers["PRECISION"]) == ("fp32", "ieee")
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device_type: torch.bfloat16)
    assert str(cuda.precision()["TYPE"]) == "bf16"  # whose products Triton's interpreter cannot compute
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device_type: torch.float16)
    inputs = tensors((1, 3, 1, 8), (4, 3, 3, 3), (4,))
    with torch.no_grad():
        ours, exact = cuda.conv(*inputs, 1, "exact"), reference.conv(*inputs, 1, "exact")
    assert ours.dtype == torch.float32 and not torch.equal(ours, exact)
    equal([ours], [exact], 0.02)


def test_outputs_are_shared_out_with_little_padding():
    cases = ((144, (128, 16, 1)), (36, (32, 16, 1)), (4, (16, 0, 1)), (20, (32, 0, 1)), (256, (128, 0, 2)))
    for count, expected in cases:
        blocks, programs = cuda.output_blocks(count)
        assert (blocks["BLOCK"], blocks["REST"], programs) == expected
    for count in range(1, 300):
        blocks, programs = cuda.output_blocks(count)
        assert count <= (blocks["BLOCK"] + blocks["REST"]) * programs
