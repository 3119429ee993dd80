"""The programs for GPUs against the reference: on CPU tensors if TRITON_INTERPRET=1, else on a GPU.
test_kernels_cuda.py runs this file in a process of its own, since Triton reads that variable when it is imported."""

from types import SimpleNamespace

import pytest
import torch
import triton
from triton.runtime import interpreter

from kernels import cuda, reference
from kernels.taps import GEOMETRIES

DEVICE = "cpu" if triton.knobs.runtime.interpret else "cuda"
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)


@pytest.fixture(scope="module", autouse=True)
def patched_once():
    """The interpreter patches triton.language anew for each call of a function, which is most of its time: here it does
    so once for each module whose functions it runs. Where a later Triton has no such function, this changes nothing."""
    patch, patched = getattr(interpreter, "_patch_lang", None), set()

    def patch_once(function):
        if id(function.__globals__) not in patched:
            patched.add(id(function.__globals__))
            patch(function)
        return SimpleNamespace(restore=lambda: None)

    if DEVICE == "cpu" and patch:
        interpreter._patch_lang = patch_once


def tensors(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape).to(DEVICE).requires_grad_() for shape in shapes]


def results(layer, inputs):
    """(outputs, gradients of the inputs), for random gradients of the outputs."""
    outputs = layer(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.manual_seed(1)
    grads = [torch.randn(output.shape).to(DEVICE) for output in outputs]
    return outputs, torch.autograd.grad(outputs, [each for each in inputs if each.requires_grad], grads)


def check(name, inputs, *arguments):
    """Compares a function of cuda with that of reference, there without `recomputed`: that imports slowly."""
    ours, theirs = (results(lambda *each, layer=layer: layer(*each, *arguments), inputs)
                    for layer in (getattr(cuda, name), getattr(reference, name).__wrapped__))
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-4, rtol=1e-4)
    return ours


def test_convolution_twice_bit_for_bit():
    inputs = tensors((1, 3, 2, 8), (5, 3, 3, 3), (5,))
    first, second = check("conv", inputs, 1, "exact"), results(lambda *each: cuda.conv(*each, 1, "exact"), inputs)
    assert all(torch.equal(a, b) for one, other in zip(first, second) for a, b in zip(one, other))


@each_geometry
def test_convolution_with_a_stride(geometry):
    check("conv", tensors((1, 4, 5, 12), (3, 4, 3, 3), (3,)), 2, geometry)


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
    check("lstm_step", tensors((1, 4, 5, 8), (1, 3, 5, 8), (1, 3, 5, 8), (12, 7, 3, 3), (12,)), geometry)


def test_lstm_step_with_a_batch_and_one_hidden_channel():
    check("lstm_step", tensors((2, 3, 1, 8), (2, 1, 1, 8), (2, 1, 1, 8), (4, 4, 3, 3), (4,)), "exact")


def test_lstm_step_without_a_state_and_without_gradients():
    x, hidden, cell, weight, bias = tensors((1, 3, 3, 8), (1, 0, 3, 8), (1, 2, 3, 8), (8, 3, 3, 3), (8,))
    with torch.inference_mode():
        ours, theirs = (module.lstm_step(x, hidden, cell, weight, bias, "exact") for module in (cuda, reference))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    x.requires_grad_(False)
    hidden.requires_grad_(False)
    check("lstm_step", [x, hidden, cell, weight, bias], "exact")


def test_many_programs_share_rows_outputs_and_sums(monkeypatch):
    """As large images and networks need them."""
    for name, value in (("COLUMNS", 16), ("LARGEST_BLOCK", 16), ("PARTS", 2)):
        monkeypatch.setattr(cuda, name, value)
    inputs = tensors((1, 2, 2, 18), (1, 5, 2, 18), (1, 5, 2, 18), (20, 7, 3, 3), (20,))
    inputs[0].requires_grad_(False)  # as the frames
    check("lstm_step", inputs, "released")


def test_the_second_sum_of_a_program(monkeypatch):
    monkeypatch.setattr(cuda, "output_blocks", lambda count: ({"BLOCK": 32, "REST": 16}, 1))
    check("lstm_step", tensors((1, 2, 2, 8), (1, 9, 2, 8), (1, 9, 2, 8), (36, 11, 3, 3), (36,)), "exact")


def test_reduced_precision_where_autocast_asks_for_it(monkeypatch):
    numbers = cuda.precision()
    assert (str(numbers["TYPE"]), numbers["PRECISION"]) == ("fp32", "ieee")
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device_type: torch.bfloat16)
    assert str(cuda.precision()["TYPE"]) == "bf16"  # whose products Triton's interpreter cannot compute
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device_type: torch.float16)
    inputs = tensors((1, 3, 3, 8), (4, 3, 3, 3), (4,))
    with torch.no_grad():
        ours, exact = cuda.conv(*inputs, 1, "exact"), reference.conv(*inputs, 1, "exact")
    assert ours.dtype == torch.float32 and not torch.equal(ours, exact)
    torch.testing.assert_close(ours, exact, atol=0.02, rtol=0.01)


def test_outputs_are_shared_out_with_little_padding():
    cases = ((144, (128, 16, 1)), (36, (32, 16, 1)), (4, (16, 0, 1)), (20, (32, 0, 1)), (256, (128, 0, 2)))
    for count, expected in cases:
        blocks, programs = cuda.output_blocks(count)
        assert (blocks["BLOCK"], blocks["REST"], programs) == expected
    for count in range(1, 300):
        blocks, programs = cuda.output_blocks(count)
        assert count <= (blocks["BLOCK"] + blocks["REST"]) * programs
