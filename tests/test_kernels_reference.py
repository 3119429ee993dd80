"""The network and its layers, by the reference and by the CPU's kernels, against the straightforward formulation."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

import spherical_conv
from benchmarks.straightforward import conv_lstm, sphere_conv, sphere_max_pool, straightforward_maps
from kernels import cpu, reference
from kernels.taps import GEOMETRIES
from model import SST_Sal
from spherical_conv import SphereConv2d, SphereMaxPool2d


def use_bands(monkeypatch, group_pixels):
    """Has the CPU's kernels cut images into bands of about a fifth of so many values, and into groups of so many
    pixels."""
    monkeypatch.setattr(cpu, "GROUP_PIXELS", group_pixels)
    monkeypatch.setattr(cpu, "BAND_VALUES", 9 * 5 * group_pixels)
    monkeypatch.setattr(cpu, "FEWEST_BANDS", 1)
    cpu.group_bands.cache_clear()


@pytest.fixture(params=["reference", "cpu, a row a band", "cpu, some rows a band", "cpu, one band"])
def formulation(monkeypatch, request):
    """All that may serve float32 on a CPU; the reference does where numba is missing."""
    assert spherical_conv.cpu is cpu, "numba is not installed"
    if request.param == "reference":
        monkeypatch.setattr(spherical_conv, "cpu", reference)
    else:
        sizes = {"cpu, a row a band": 1, "cpu, some rows a band": 30, "cpu, one band": 10**6}
        use_bands(monkeypatch, sizes[request.param])
    yield
    cpu.group_bands.cache_clear()


@pytest.fixture(params=[reference, cpu], ids=["reference", "cpu"])
def kernels(monkeypatch, request):
    """The modules that `formulation` chooses from."""
    monkeypatch.setattr(spherical_conv, "cpu", request.param)
    return request.param


@pytest.fixture
def threads():
    """torch.set_num_threads, undone."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gradients(output, inputs):
    torch.manual_seed(5)
    return torch.autograd.grad((output * torch.randn(output.shape, dtype=output.dtype)).sum(), inputs)


# ------------------------------------------------------------------------------------------------------ same numbers


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("latitude", [False, True])
def test_model_equals_the_straightforward_formulation(geometry, latitude):
    torch.manual_seed(0)
    model = SST_Sal(3, 5, geometry, latitude).double()
    frames = torch.rand(2, 3, 3, 7, 12, dtype=torch.float64, requires_grad=True)
    maps, expected = model(frames), straightforward_maps(model, frames)
    torch.testing.assert_close(maps, expected)
    inputs = [frames, *model.parameters()]
    torch.testing.assert_close(gradients(maps, inputs), gradients(expected, inputs))
    with torch.no_grad():
        torch.testing.assert_close(model(frames), expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(13, 24), (2, 8)])
def test_model_in_single_precision(geometry, size, formulation):
    torch.manual_seed(0)
    model, frames = SST_Sal(6, 5, geometry, True), torch.rand(2, 3, 6, *size, requires_grad=True)
    maps, expected = model(frames), straightforward_maps(model, frames)
    torch.testing.assert_close(maps, expected, atol=1e-6, rtol=0)
    for ours, theirs in zip(*(gradients(result, [frames, *model.parameters()]) for result in (maps, expected))):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(frames), expected, atol=1e-6, rtol=0)


def check_layers(channels, stride, geometry, dtype, tolerance):
    torch.manual_seed(0)
    conv, pool = SphereConv2d(*channels, stride, True, geometry).to(dtype), SphereMaxPool2d(stride, geometry)
    x = torch.randn(2, channels[0], 9, 16, dtype=dtype, requires_grad=True)
    for ours, expected, inputs in ((conv(x), sphere_conv(x, conv), [x, *conv.parameters()]),
                                   (pool(x), sphere_max_pool(x, pool), [x])):
        torch.testing.assert_close(ours, expected, **tolerance)
        torch.testing.assert_close(gradients(ours, inputs), gradients(expected, inputs), **tolerance)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [(2, 5), (5, 2)])
def test_layers_equal_the_straightforward_formulation(geometry, stride, channels):
    check_layers(channels, stride, geometry, torch.float64, {})


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_layers_in_single_precision(geometry, stride, formulation):
    check_layers((2, 5), stride, geometry, torch.float32, {"atol": 1e-4, "rtol": 1e-5})


@pytest.mark.parametrize("channels", [0, 2, 3], ids=["no state", "narrow", "wide"])
def test_lstm_step_equals_the_straightforward_one(channels, kernels):
    torch.manual_seed(0)
    conv = SphereConv2d(2 + channels, 4 * (channels or 3), 1, True, "exact")
    cell = torch.randn(2, channels or 3, 6, 8, requires_grad=True)
    x, hidden = torch.randn(2, 2, 6, 8, requires_grad=True), torch.randn(2, channels, 6, 8, requires_grad=True)
    ours = kernels.lstm_step(x, hidden, cell, conv.weight, conv.bias, "exact")
    expected = conv_lstm(lambda joined: sphere_conv(joined, conv), x, (hidden, cell))
    torch.testing.assert_close(ours, expected)
    inputs = [x, cell, conv.weight, conv.bias] + [hidden] * bool(channels)
    torch.testing.assert_close(gradients(torch.cat(ours), inputs), gradients(torch.cat(expected), inputs),
                               atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("input_dim, hidden_dim", [(2, 2), (5, 1)])
def test_lstm_step_has_the_right_gradients(input_dim, hidden_dim):
    torch.manual_seed(0)
    shapes = ((2, input_dim, 4, 6), (2, hidden_dim, 4, 6), (2, hidden_dim, 4, 6),
              (4 * hidden_dim, input_dim + hidden_dim, 3, 3), (4 * hidden_dim,))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda *inputs: reference.lstm_step(*inputs, "exact"), tensors)


def test_lstm_step_skips_an_input_without_gradient(kernels):
    torch.manual_seed(0)
    conv = SphereConv2d(5, 12, 1, True, "released")
    x, hidden, cell = torch.randn(2, 2, 6, 8), torch.randn(2, 3, 6, 8, requires_grad=True), torch.randn(2, 3, 6, 8)
    ours = kernels.lstm_step(x, hidden, cell, conv.weight, conv.bias, "released")
    expected = conv_lstm(lambda joined: sphere_conv(joined, conv), x, (hidden, cell))
    torch.testing.assert_close(ours, expected)
    inputs = [hidden, conv.weight, conv.bias]
    torch.testing.assert_close(gradients(torch.cat(ours), inputs), gradients(torch.cat(expected), inputs))


def test_constant_image_shares_the_gradient_of_its_largest_taps(kernels):
    x = torch.ones(1, 1, 6, 8, requires_grad=True)
    kernels.max_pool(x, 1, "exact").sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(48.0))


def test_nine_equal_taps_receive_a_ninth_of_the_gradient_each(kernels):
    x, grad = torch.zeros(1, 2, 6, 8, requires_grad=True), torch.randn(1, 2, 3, 4)
    ours, = torch.autograd.grad(kernels.max_pool(x, 2, "exact"), x, grad)
    mean = torch.eye(2)[:, :, None, None].expand(2, 2, 3, 3) / 9
    expected, = torch.autograd.grad(kernels.conv(x, mean, torch.zeros(2), 2, "exact"), x, grad)
    torch.testing.assert_close(ours, expected)


def test_what_is_not_finite_is_noticed(kernels):
    model, frames = SST_Sal(3, 4, "exact", latitude=True), torch.rand(1, 2, 3, 8, 16)
    with torch.no_grad():
        model.encoder["lstm"].conv.weight[0, 0, 1, 1] = torch.nan
        assert model(frames)[:, 0].isnan().all()
    x = torch.zeros(1, 1, 6, 8)
    x[0, 0, 3, 4] = torch.nan
    assert SphereMaxPool2d(2, "exact")(x).isnan().any()
    x[0, 0, 3, 4] = torch.inf
    convolved = SphereConv2d(1, 2, 1, True, "exact")(x)
    assert not convolved[:, :, 3, 4].isfinite().any() and convolved[:, :, 0].isfinite().all()


def test_inputs_may_lie_in_memory_in_any_order(kernels):
    torch.manual_seed(0)
    weight, bias, x = torch.randn(4, 3, 3, 3), torch.randn(4), torch.randn(2, 3, 6, 8)
    larger = torch.randn(2, 5, 6, 12)
    larger[:, 1:4, :, 2:10] = x
    layouts = (x.contiguous(memory_format=torch.channels_last), x.transpose(1, 2).contiguous().transpose(1, 2),
               larger[:, 1:4, :, 2:10])
    for same in layouts:
        assert torch.equal(same, x) and same.stride() != x.stride()
        torch.testing.assert_close(kernels.conv(same, weight, bias, 1, "exact"),
                                   kernels.conv(x, weight, bias, 1, "exact"))
        assert torch.equal(kernels.max_pool(same, 2, "exact"), kernels.max_pool(x, 2, "exact"))


# ------------------------------------------------------------------------------------------------ types and modes


def test_half_precision_is_near():
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact"), torch.rand(1, 3, 3, 6, 12)
    expected = straightforward_maps(model, frames)
    maps = model.bfloat16()(frames.bfloat16())
    maps.sum().backward()
    assert maps.dtype == torch.bfloat16 and all(weights.grad.isfinite().all() for weights in model.parameters())
    torch.testing.assert_close(maps.float(), expected, atol=0.02, rtol=0)


def test_reduced_precision_where_autocast_asks_for_it():
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 8, "exact", latitude=True), torch.rand(1, 3, 3, 8, 16)
    weights = list(model.parameters())
    expected = model(frames)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(frames)
    assert maps.dtype == torch.float32 and not torch.equal(maps, expected)
    torch.testing.assert_close(maps, expected, atol=0.01, rtol=0)
    for ours, exact in zip(torch.autograd.grad(maps.sum(), weights), torch.autograd.grad(expected.sum(), weights)):
        assert float((ours - exact).norm() / exact.norm()) < 0.02


def test_training_after_inference_mode(kernels):
    reference.tap_tensors.cache_clear()  # they are then made in inference mode
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact"), torch.rand(1, 2, 3, 6, 12)
    with torch.inference_mode():
        expected = model(frames).clone()
    maps = model(frames)
    maps.sum().backward()
    torch.testing.assert_close(maps.detach(), expected)


def test_step_leaves_its_state_as_it_was(kernels):
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact").eval(), torch.rand(1, 3, 3, 6, 12)
    with torch.no_grad():
        _, state = model.step(frames[:, 0], None)
        kept = [values.clone() for part in state for values in part]
        first, _ = model.step(frames[:, 1], state)
        again, _ = model.step(frames[:, 1], state)
    torch.testing.assert_close([values for part in state for values in part], kept, atol=0, rtol=0)
    torch.testing.assert_close(first, again, atol=0, rtol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_maps(mode, count, threads, formulation):
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "released"), torch.rand(2, 2, 3, 9, 16)
    expected = straightforward_maps(model, frames).detach()
    threads(count)
    with mode():
        torch.testing.assert_close(model(frames), expected, atol=1e-6, rtol=0)
    assert torch.get_num_threads() == count


def test_gradients_repeat_exactly_whatever_the_number_of_threads(threads, monkeypatch, kernels):
    use_bands(monkeypatch, 32)
    torch.manual_seed(0)
    model, frames = SST_Sal(3, 4, "exact"), torch.rand(1, 3, 3, 12, 16)
    results = []
    for count in (1, 2, 3, 3):
        threads(count)
        results.append(gradients(model(frames), model.parameters()))
    cpu.group_bands.cache_clear()
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=0, rtol=0)


# ---------------------------------------------------------------------------------------------------------- memory


def test_graphs_that_live_at_once_do_not_share_memory(kernels):
    torch.manual_seed(0)
    model, clips = SST_Sal(3, 4, "exact", latitude=True), torch.rand(2, 1, 2, 3, 8, 16)
    weights = list(model.parameters())
    expected = [torch.autograd.grad(model(clip).sum(), weights) for clip in clips]
    first, second = (model(clip).sum() for clip in clips)
    for _ in range(2):  # a graph may be gone through twice
        torch.testing.assert_close(torch.autograd.grad(first, weights, retain_graph=True), expected[0], atol=0, rtol=0)
        torch.testing.assert_close(torch.autograd.grad(second, weights, retain_graph=True), expected[1], atol=0, rtol=0)


def test_training_keeps_nothing_that_is_larger_than_an_image(kernels):
    kept = []
    model, frame = SST_Sal(6, 6, "released"), torch.rand(1, 6, 16, 32)
    with saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
        maps, state = model.step(frame, None)
        model.step(frame, state)
    assert max(kept, default=0) <= 6 * 16 * 32
