import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import mnistlab as ml
from mnistlab.networks.hooks import Step


@pytest.fixture(scope="module")
def model() -> ml.CNN:
    return ml.load(ml.home() / "models" / "cnn.safetensors").model


@pytest.fixture(scope="module")
def found(model, test_digits) -> ml.Trace:
    return ml.trace(model, test_digits.images[0])


def odd(seed: int = 0) -> nn.Sequential:
    """Uneven windows, strides, paddings and dilations, no biases, ReLUs that write in place, norms that have seen some."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, 3, (3, 5), stride=(2, 1), padding=(0, 2), bias=False),
                norm1=nn.BatchNorm2d(3),
                relu1=nn.ReLU(inplace=True),
                pool1=nn.MaxPool2d(3, stride=2, padding=1),
                conv2=nn.Conv2d(3, 4, 3, padding=2, dilation=2),
                relu2=nn.ReLU(inplace=True),
                pool2=nn.MaxPool2d((2, 3), ceil_mode=True),
                drop1=nn.Dropout(0.5),
                flatten=nn.Flatten(),
                dense1=nn.Linear(4 * 4 * 5, 12, bias=False),
                norm2=nn.BatchNorm1d(12),
                relu3=nn.ReLU(inplace=True),
                dense2=nn.Linear(12, 10),
            )
        )
        for norm in (model.norm1, model.norm2):
            nn.init.uniform_(norm.weight, -1, 2)
            nn.init.normal_(norm.bias)
        with torch.no_grad():
            model.train()(torch.randn(32, 1, 28, 28))
    return model.eval()


def noise(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8, generator=generator)


def hooks(model: nn.Module) -> int:
    return sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in model.modules())


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Weights, counters, modes and hooks are afterwards what they were."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [layer.training for layer in model.modules()]
    yield
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert modes == [layer.training for layer in model.modules()]
    assert hooks(model) == 0


NETWORKS = {
    "trained": lambda model: model,
    "trained, in double precision": lambda model: model.double(),
    "trained, folded": ml.folded,
    "odd": lambda _: odd(),
    "odd, nested": lambda _: nn.Sequential(OrderedDict(front=odd()[:5], back=nn.Sequential(odd()[5:8], odd()[8:]))),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_operation_in_order(model, test_digits, kind):
    network = NETWORKS[kind](deepcopy(model))
    layers = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    digit = test_digits.images[3]
    with untouched(network):
        found = ml.trace(network, digit)
    assert list(found.steps) == [name for name, _ in layers]
    value = ml.normalise(digit[None]).to(next(network.parameters()).dtype)
    assert torch.equal(found.pixels, value[0]) and torch.equal(found.digit, digit)
    with torch.no_grad():
        for name, layer in layers:
            step = found[name]
            assert (step.name, step.kind) == (name, type(layer).__name__)
            assert torch.equal(step.input, value[0])
            value = layer(value.clone())
            assert torch.equal(step.output, value[0]) and step.output.dtype == value.dtype
    assert torch.equal(found.logits, value[0])
    network.train()
    network.get_submodule(layers[1][0]).eval()
    with untouched(network):
        again = ml.trace(network, digit)
    assert all(torch.equal(again[name].output, found[name].output) for name, _ in layers)


def test_what_a_trace_says_of_its_digit(model, test_digits):
    found = ml.trace(model, test_digits.images[0], truth=int(test_digits.labels[0]))
    with torch.no_grad():
        probabilities = model(ml.normalise(test_digits.images[:1])).softmax(1)[0].numpy()
    assert found.ranking == np.argsort(-probabilities).tolist() and found.prediction == probabilities.argmax()
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-5)
    assert found.margin == pytest.approx(np.sort(probabilities)[-1] - np.sort(probabilities)[-2], rel=1e-5)
    assert found.truth == test_digits.labels[0] and found.network == "CNN"
    assert [found.before(name) for name in ("conv1", "norm1", "dense2")] == ["pixels", "conv1", "drop4"]


def test_trace_stays_true_when_the_network_learns_on():
    network = odd()
    found = ml.trace(network, noise(1))
    total, (shares, rest) = found.ledger("conv2", (1, 2, 3)).total, found.pixel_shares(4)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    assert found.ledger("conv2", (1, 2, 3)).total == total
    again, rest_again = found.pixel_shares(4)
    assert torch.equal(again, shares) and rest_again == rest


def test_recording_hears_the_named_layers_of_every_pass(model, test_digits):
    images = ml.normalise(test_digits.images[:4])
    with untouched(model), torch.no_grad():
        with ml.recording(model, ["relu2", "conv2"]) as steps:
            model(images)
            model(images[:1])
        model(images)  # nobody listens any more
    assert [step.name for step in steps] == ["conv2", "relu2"] * 2
    assert [len(step.output) for step in steps] == [4, 4, 1, 1]
    assert torch.equal(steps[1].output, model[:6](images)) and torch.equal(steps[0].input, model[:3](images))
    assert not steps[1].output.requires_grad


def test_no_hooks_remain_after_an_exception():
    network = odd()
    with pytest.raises(ZeroDivisionError), ml.recording(network):
        1 / 0  # noqa: B018
    assert hooks(network) == 0
    with pytest.raises(RuntimeError), ml.recording(network):
        network(torch.zeros(1, 3, 28, 28))
    assert hooks(network) == 0
    with pytest.raises(RuntimeError), untouched(network.train()):
        ml.trace(nn.Sequential(network, nn.Linear(3, 3)), noise(0))
    with pytest.raises(RuntimeError), ml.silenced(network, "conv1", 0):
        network(torch.zeros(1, 3, 28, 28))
    assert hooks(network) == 0
    with ml.recording(network) as steps:
        network.eval()(torch.zeros(1, 1, 28, 28))
    assert len(steps) == 13


def test_two_recordings_at_once_do_not_mix():
    one, two, images = odd(1), odd(2), torch.randn(2, 1, 28, 28)
    with ml.recording(one) as outer:
        one(images)
        with ml.recording(one, ["conv2"]) as inner, ml.recording(two) as other:
            one(images[:1])
            two(images)
        one(images)
    assert [len(outer), len(inner), len(other)] == [39, 1, 13] and hooks(one) + hooks(two) == 0
    assert torch.equal(inner[0].output, outer[13 + 4].output) and len(inner[0].output) == 1
    assert torch.equal(other[-1].output, two(images)) and torch.equal(outer[-1].output, one(images))


def test_a_copy_made_during_a_recording_is_not_heard():
    network = odd()
    with ml.recording(network) as steps:
        found = ml.trace(network, noise(0))
        found.pixel_shares(3)  # runs copies of the layers
        deepcopy(network)(torch.zeros(1, 1, 28, 28))
    assert [step.name for step in steps] == list(found.steps)


class Meeting(nn.Module):
    """Lets nobody through before two have come."""

    barrier = threading.Barrier(2, timeout=60)

    def forward(self, value: Tensor) -> Tensor:
        self.barrier.wait()
        return value


def test_threads_record_the_same_model_apart(test_digits):
    network = nn.Sequential(Meeting(), *odd(3)[:5], Meeting(), *odd(3)[5:])

    def record(place: int) -> list[Step]:
        with torch.no_grad(), ml.recording(network) as steps:
            network(ml.normalise(test_digits.images[place : place + 1]))
        return steps

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(record, range(2)))
    assert hooks(network) == 0
    for place, steps in enumerate(both):
        expected = list(ml.trace(odd(3), test_digits.images[place]).steps.values())
        assert [step.kind for step in steps if step.kind != "Meeting"] == [step.kind for step in expected]
        heard = [step for step in steps if step.kind != "Meeting"]
        assert all(torch.equal(a.output[0], b.output) for a, b in zip(heard, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["trained", "odd"])
def test_ledger_of_any_cell_comes_to_pytorchs_value(model, test_digits, kind, dtype):
    network = NETWORKS[kind](deepcopy(model)).to(dtype)
    random = np.random.default_rng(0)
    for digit in test_digits.images[:50]:
        found = ml.trace(network, digit)
        with torch.no_grad():
            logits = network(found.pixels[None])[0]
        for name, step in found.steps.items():
            cell = tuple(int(random.integers(size)) for size in step.output.shape)
            ledger = found.ledger(name, cell)
            value = step.output[cell].item()
            assert ledger.output == value and (name != "dense2" or value == logits[cell].item())
            if dtype == torch.float64:
                assert ledger.total == pytest.approx(value, rel=1e-5)
            else:
                largest = ledger.products.abs().max().item()
                assert abs(ledger.total - value) <= 1e-5 * (largest + abs(value))


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_terms_of_a_convolution_agree_with_unfold(kernel, stride, padding, dilation, bias, seed):
    conv = nn.Conv2d(2, 3, kernel, stride, padding, dilation, bias=bias)
    found = ml.trace(nn.Sequential(nn.Conv2d(1, 2, 5, stride=3), conv), noise(seed))
    step = found["1"]
    # Each cell of the input is numbered from 1; the padding gets 0.
    numbered = torch.arange(1.0, step.input.numel() + 1).view_as(step.input)
    columns = F.unfold(numbered[None], kernel, dilation, padding, stride)[0].long()
    rows, width = step.output.shape[1:]
    for place in {0, rows * width // 2, rows * width - 1}:
        inside = columns[:, place] > 0
        read = columns[inside, place] - 1
        ledger = found.ledger("1", (2, *divmod(place, width)))
        assert torch.equal(ledger.cells, torch.stack(torch.unravel_index(read, step.input.shape), 1))
        assert torch.equal(ledger.values, step.input.flatten()[read].double())
        assert torch.equal(ledger.weights, conv.weight[2].flatten()[inside].double())
        assert ledger.bias == (conv.bias[2].item() if bias else 0)
        assert ledger.total == pytest.approx(step.output[2].flatten()[place].item(), abs=1e-5)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    ceil_mode=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_terms_of_a_pooling_are_the_cells_that_can_win(kernel, stride, padding, dilation, ceil_mode, seed):
    assume(padding <= min(kernel) // 2)
    pool = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    found = ml.trace(nn.Sequential(nn.Conv2d(1, 2, 5, stride=3), pool), noise(seed))
    maps, output = found["1"].input, found["1"].output
    _, winners = F.max_pool2d(maps, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    raised = maps[1].repeat(maps[1].numel(), 1, 1)  # a copy for each cell, in which that cell is beyond all others
    raised.flatten(1).fill_diagonal_(1e9)
    won = pool(raised) == 1e9
    for row, column in {(0, 0), (output.shape[1] - 1, output.shape[2] - 1)}:
        ledger = found.ledger("1", (1, row, column))
        cells = [(1, *divmod(place, maps.shape[2])) for place in won[:, row, column].nonzero().flatten().tolist()]
        assert sorted(map(tuple, ledger.cells.tolist())) == cells
        assert sorted(ledger.weights.tolist()) == [0] * (len(cells) - 1) + [1]
        winner = ledger.cells[ledger.weights.argmax()].tolist()
        assert winner == [1, *divmod(winners[1, row, column].item(), maps.shape[2])]
        assert ledger.total == output[1, row, column].item() and ledger.bias == 0


def test_terms_of_the_other_layers(model, found):
    dense = found.ledger("dense2", 3)
    assert torch.equal(dense.weights, model.dense2.weight[3].double()) and dense.bias == model.dense2.bias[3].item()
    assert torch.equal(dense.values, found["drop4"].output.double())
    assert found.ledger("dense2", (3,)).total == found.ledger("dense2", np.int64(3)).total == dense.total
    cell = (5, 6, 7)
    for name in ("norm1", "relu1", "drop1"):
        assert found.ledger(name, cell).cells.tolist() == [list(cell)]
    norm, wanted = found.ledger("norm1", cell), model.norm1
    scale = wanted.weight[5].item() / (wanted.running_var[5].item() + wanted.eps) ** 0.5
    assert norm.weights.item() == pytest.approx(scale, rel=1e-5)
    assert norm.bias == pytest.approx(wanted.bias[5].item() - wanted.running_mean[5].item() * scale, rel=1e-4)
    opened = found["relu1"].input > 0
    for gate in (opened, ~opened):
        first = tuple(gate.nonzero()[0].tolist())
        assert found.ledger("relu1", first).weights.tolist() == [float(opened[first])]
    numbered = torch.arange(128 * 3 * 3).view(128, 3, 3)
    for place in (0, 100, 1151):
        (source,) = found.ledger("flatten", place).cells.tolist()
        assert numbered[tuple(source)] == place


def test_a_window_of_nothing_but_padding_has_no_terms():
    conv = nn.Conv2d(1, 1, 1, padding=1)
    ledger = ml.trace(nn.Sequential(conv), noise(0)).ledger("0", (0, 0, 5))
    assert len(ledger.cells) == 0 and ledger.total == ledger.output == conv.bias.item()


def test_a_logit_is_recomputed_from_the_pixels_by_ledgers_alone(test_digits):
    network, digit = odd(5).double(), test_digits.images[4]
    found = ml.trace(network, digit)
    pixels = ml.normalise(digit[None])[0].double()
    known: dict[tuple, float] = {}

    def value(name: str, cell: tuple[int, ...]) -> float:
        if name == "pixels":
            return pixels[cell].item()
        if (name, cell) not in known:
            ledger = found.ledger(name, cell)
            terms = zip(ledger.weights.tolist(), ledger.cells.tolist(), strict=True)
            known[name, cell] = ledger.bias + sum(w * value(found.before(name), tuple(c)) for w, c in terms)
        return known[name, cell]

    with torch.no_grad():
        logits = network(pixels[None])[0]
    assert [value("dense2", (logit,)) for logit in range(10)] == pytest.approx(logits.tolist(), rel=1e-9)
    assert len(known) > 3000


def test_the_same_sum_channel_by_channel(found):
    ledger = found.ledger("conv2", (7, 14, 9))  # inside the picture: 32 channels of nine products
    shares = torch.mul(ledger.values, ledger.weights).view(32, 9).sum(1).numpy()
    np.testing.assert_allclose(ledger.channels, shares, rtol=1e-12)
    assert list(ledger.channels.index) == list(range(32)) and ledger.channels.index.name == "channel"
    order = np.argsort(-abs(shares))
    top, others = ledger.largest(4)
    assert list(top.index) == list(order[:4]) and list(top) == pytest.approx(list(shares[order[:4]]))
    assert others == pytest.approx(shares[order[4:]].sum())
    table = ledger.table(4)["conv2 [7, 14, 9]"]
    assert list(table.index) == [*(f"channel {n}" for n in order[:4]), "28 others", "bias", "total"]
    assert table.iloc[:-1].sum() == pytest.approx(table["total"]) and table["total"] == ledger.total
    everything = ledger.table(32)
    assert len(everything) == 34 and everything.iloc[:-1, 0].sum() == pytest.approx(ledger.total)


def without_pixels(found: ml.Trace) -> Tensor:
    """The logits for pixels of zero, if each ReLU and each pooling decided as it did for the digit."""
    value = torch.zeros_like(found.pixels)[None]
    for step in found.steps.values():
        layer = step.layer
        if isinstance(layer, nn.ReLU):
            value = value * (step.input > 0)
        elif isinstance(layer, nn.MaxPool2d):
            sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode
            _, won = F.max_pool2d(step.input[None], *sizes, return_indices=True)
            value = value.flatten(2).gather(2, won.flatten(2)).view_as(won)
        else:
            value = layer(value)
    return value[0].detach()


@pytest.mark.parametrize("kind", ["trained", "odd"])
def test_pixel_shares_are_gradient_times_pixel_and_the_rest_is_the_constants(model, test_digits, kind):
    network = NETWORKS[kind](deepcopy(model)).double()
    for digit in test_digits.images[:2]:
        pixels = ml.normalise(digit[None]).double().requires_grad_(True)
        logits = network(pixels)[0]
        found = ml.trace(network, digit)
        constants = without_pixels(found)
        for logit in range(10):
            shares, rest = found.pixel_shares(logit)
            gradient = torch.autograd.grad(logits[logit], pixels, retain_graph=True)[0]
            torch.testing.assert_close(shares, (gradient * pixels.detach())[0, 0], rtol=1e-9, atol=1e-12)
            assert shares.sum().item() + rest == pytest.approx(logits[logit].item(), rel=1e-9)
            assert rest == pytest.approx(constants[logit].item(), rel=1e-7, abs=1e-9)
            assert rest == pytest.approx((logits[logit] - (gradient * pixels).sum()).item(), rel=1e-7, abs=1e-9)


def test_pixel_shares_of_a_network_in_single_precision(found):
    with torch.no_grad():
        for logit in range(10):
            shares, rest = found.pixel_shares(logit)
            assert shares.shape == (28, 28) and shares.dtype == torch.float64
            assert shares.sum().item() + rest == pytest.approx(found.logits[logit].item(), abs=1e-4)


@pytest.mark.parametrize("layer", [nn.LogSoftmax(1), nn.BatchNorm1d(10, affine=False), nn.Tanh()])
def test_pixel_shares_of_what_is_no_known_sum_are_refused(layer):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), layer).eval()
    if isinstance(layer, nn.BatchNorm1d):
        layer.running_mean += 1
    with pytest.raises(ValueError, match=rf"Sequential \(Flatten, Linear, {type(layer).__name__}\)"):
        ml.trace(network, noise(0)).pixel_shares(1)


def test_a_way_leads_from_the_pixels_to_the_logit(model, test_digits):
    telling = 0
    for label in range(10):
        digit = test_digits.images[test_digits.labels == label][0]
        found = ml.trace(model, digit)
        way = found.way()
        assert [ledger.name for ledger in way] == list(found.steps) and way[-1].cell == (found.prediction,)
        for ledger, following in pairwise(way):
            read = list(map(tuple, following.cells.tolist()))
            assert dict(zip(read, following.values, strict=True))[ledger.cell] == ledger.output
            assert len(read) == 1 or following.products[read.index(ledger.cell)] > 0
        inked = sum(int(digit[tuple(cell)]) >= 64 for cell in way[0].cells.tolist())
        telling += inked >= 5 and {-1, 1} <= set(way[0].products.sign().tolist())
        assert found.way(label)[-1].cell == (label,)
    assert telling >= 9


def test_there_is_a_way_where_nothing_adds_to_the_logit():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 26 * 26, 10))
    nn.init.constant_(network[3].weight, -1)
    assert [ledger.name for ledger in ml.trace(network, noise(0)).way()] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("name", "channels"), [("conv3", 5), ("relu4", {0, 7, 63}), ("dense1", np.int64(9))])
def test_silenced_channels_are_zeros_until_the_with_ends(model, test_digits, name, channels):
    images = ml.normalise(test_digits.images[:5])
    cut = [n for n, _ in model.named_children()].index(name) + 1
    with torch.no_grad():
        whole, value = model(images), model[:cut](images)
        value[:, sorted(channels) if isinstance(channels, set) else channels] = 0
        expected = model[cut:](value)
        with untouched(model):
            with ml.silenced(model, name, channels) as quiet:
                assert quiet is model and torch.equal(model(images), expected)
            assert torch.equal(model(images), whole)
            with pytest.raises(ZeroDivisionError), ml.silenced(model, name, channels):
                1 / 0  # noqa: B018
    assert not torch.equal(expected, whole)


def outputs(network: nn.Sequential, digits: ml.Digits) -> dict[str, np.ndarray]:
    """Every layer's output, (N, channels, cells)."""
    value, found = ml.normalise(digits.images).to(next(network.parameters()).dtype), {}
    with torch.no_grad():
        for name, layer in deepcopy(network).eval().named_children():
            value = layer(value.clone())
            found[name] = value.numpy().reshape(len(digits), value.shape[1], -1)
    return found


@pytest.mark.parametrize("kind", ["trained", "odd"])
@pytest.mark.parametrize("batch_size", [11, 250])
def test_activation_statistics_agree_with_numpy(model, test_digits, kind, batch_size):
    network, digits = NETWORKS[kind](deepcopy(model)).double().train(), test_digits[:40]
    with untouched(network):
        table = ml.activation_statistics(network, digits, batch_size)
    expected = outputs(network, digits)
    assert list(table["name"].unique()) == list(expected)
    for name, rows in table.groupby("name", sort=False):
        cells = expected[name]
        assert list(rows["channel"]) == list(range(cells.shape[1]))
        assert set(rows["kind"]) == {type(network.get_submodule(name)).__name__}
        np.testing.assert_allclose(rows["mean"], cells.mean((0, 2)), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(rows["zeros"], (cells == 0).mean((0, 2)), rtol=1e-12)
        np.testing.assert_allclose(rows["largest"], cells.max((0, 2)), rtol=1e-9, atol=1e-12)


def with_a_dead_channel() -> nn.Sequential:
    network = odd()
    network.norm1.weight.data = torch.tensor([1.0, 0, 1])
    network.norm1.bias.data = torch.tensor([0.0, -1, 0])
    return network


def test_a_dead_channel_is_found(test_digits):
    network = with_a_dead_channel()
    table = ml.activation_statistics(network, test_digits[:20]).query("name == 'relu1'")
    assert list(table["largest"] == 0) == [False, True, False]
    assert table["zeros"].iloc[1] == 1 and table["mean"].iloc[1] == 0


@pytest.mark.parametrize(("name", "width"), [("relu3", 14), ("dense1", 1)])
def test_top_digits_agree_with_numpy(model, test_digits, name, width):
    digits = test_digits[:60]
    cells = outputs(model, digits)[name]
    model.train()
    try:
        with untouched(model):
            table = ml.top_digits(model, digits, name, count=4)
            pieces = ml.top_digits(model, digits, name, count=4, batch_size=13)
    finally:
        model.eval()
    strongest = cells.max(2)
    order = np.argsort(-strongest, axis=0, kind="stable")[:4]
    channels = range(cells.shape[1])
    assert list(zip(table["channel"], table["rank"], strict=True)) == [(c, r) for c in channels for r in range(4)]
    assert np.array_equal(table["digit"], order.T.flatten())
    assert np.array_equal(table["value"], np.take_along_axis(strongest, order, 0).T.flatten())
    place = table["row"] * width + table["column"]
    assert (table["column"] < width).all()
    assert np.array_equal(cells[table["digit"], table["channel"], place], table["value"])
    np.testing.assert_allclose(pieces["value"], table["value"], rtol=1e-4, atol=1e-5)


def test_top_digits_of_a_dead_channel_and_of_few_digits(test_digits):
    table = ml.top_digits(with_a_dead_channel(), test_digits[:3], "relu1").query("channel == 1")
    expected = {"rank": [0, 1, 2], "digit": [0, 1, 2], "value": [0.0] * 3}
    pd.testing.assert_frame_equal(
        table[list(expected)].reset_index(drop=True), pd.DataFrame(expected), check_dtype=False
    )


@pytest.mark.parametrize(
    "digit",
    [noise(0)[0], noise(0)[None], noise(0).float(), noise(0)[:, :27], noise(0).repeat(2, 1, 1), noise(0).bool()],
)
def test_anything_but_one_digit_is_refused(digit):
    with pytest.raises(ValueError, match=r"\(1, 28, 28\) uint8, such as digits.images\[0\], not \("):
        ml.trace(odd(), digit)


def test_unknown_names_and_cells_are_refused(found, test_digits):
    network = odd()
    everything = ", ".join(name for name, _ in network.named_children())
    message = f"Sequential has no layer 'conv9'; its layers are {everything}"
    with pytest.raises(ValueError, match=message), ml.recording(network, ["conv1", "conv9"]):
        pass
    with pytest.raises(ValueError, match=message), ml.silenced(network, "conv9", 0):
        pass
    with pytest.raises(ValueError, match=message):
        ml.top_digits(network, test_digits[:2], "conv9")
    with untouched(network), pytest.raises(ValueError, match="no layer ''"), ml.silenced(network, "", 0):
        pass
    for name in ("conv9", "pixels"):
        with pytest.raises(KeyError, match=f"no layer '{name}'.*conv1, norm1.*dense2"):
            found[name]
    for name, cell in [("conv1", (0, 28, 0)), ("conv1", (32, 0, 0)), ("conv1", (0, -1, 0)), ("conv1", (0, 0)), ("conv1", 3), ("dense2", 10)]:  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} has no cell .* its output is (32×28×28|10)"):
            found.ledger(name, cell)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(2),
        nn.BatchNorm2d(2, affine=False),
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding="same"),
    ],
)
def test_ledgers_of_unknown_sums_are_refused(layer):
    found = ml.trace(nn.Sequential(nn.Conv2d(1, 2, 3), layer), noise(0))
    with pytest.raises(ValueError, match=rf"How 1, a {type(layer).__name__}, makes a cell is not known here"):
        found.ledger("1", (0,) * found["1"].output.ndim)


class Branch(nn.Module):
    """Adds what went past a layer to what came through it."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1), last

    def forward(self, images: Tensor) -> Tensor:
        value = self.one(images)
        return self.last(self.two(value) + value)


def test_networks_whose_layers_do_not_follow_one_another_are_refused():
    for members in (1, 2):
        with pytest.raises(ValueError, match=r"Ensemble.*an ensemble's members\[0\]"):
            ml.trace(ml.Ensemble(members), noise(0))
    assert ml.trace(ml.Ensemble(2).members[0], noise(0)).network == "CNN"
    with pytest.raises(ValueError, match="In Branch, last does not take what two gives"):
        ml.trace(Branch(nn.Flatten()), noise(0))
    with pytest.raises(ValueError, match="Branch does not put out what its last layer, two, gives"):
        ml.trace(Branch(torch.tanh), noise(0))


@pytest.mark.parametrize("twice", [nn.ReLU(), nn.Conv2d(1, 1, 3, padding=1)])
def test_a_layer_that_runs_twice_has_two_steps(twice):
    model = nn.Sequential(twice, nn.Conv2d(1, 1, 3), twice, nn.Flatten(), nn.LazyLinear(10)).eval()
    model(ml.normalise(noise(0)[None]))
    found = ml.trace(model, noise(0))
    assert list(found.steps) == ["0", "1", "0 (2)", "3", "4"]
    assert torch.equal(found["0 (2)"].output[None], model[:3](ml.normalise(noise(0)[None])))
    ledger = found.ledger("0 (2)", (0, 3, 4))
    assert ledger.total == pytest.approx(ledger.output, abs=1e-5)
    assert float(found.pixel_shares(7)[0].sum()) + found.pixel_shares(7)[1] == pytest.approx(
        float(found.logits[7]), abs=1e-4
    )


def test_parts_that_are_run_alone_keep_their_names(model, test_digits):
    images = ml.normalise(test_digits.images[:2])
    with torch.no_grad(), ml.recording(model, ["conv1"]) as steps:
        for part in (model[:2], model, model[:2], model[:1]):
            part(images)
    assert [step.name for step in steps] == ["conv1"] * 4
