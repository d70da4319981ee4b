import pytest
import torch
import torchinfo
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import mnistlab as ml
from mnistlab.networks import layers, models


@pytest.fixture(scope="module")
def model() -> ml.CNN:
    return ml.CNN().eval()


def test_parameters_and_output(model):
    assert sum(p.numel() for p in model.parameters()) == 437_738
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_layers_in_order(model):
    kinds = [type(layer).__name__ for layer in model]
    conv = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == [
        *conv * 2, "MaxPool2d", "Dropout",
        *conv * 2, "MaxPool2d", "Dropout",
        *conv, "MaxPool2d", "Dropout",
        "Flatten", "Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
    assert [layer.p for layer in model if isinstance(layer, nn.Dropout)] == [0.25, 0.25, 0.25, 0.5]


def test_seed_decides_the_weights_and_nothing_else():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, same, other = ml.CNN(1), ml.CNN(1), ml.CNN(2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.conv1.weight, same.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_a_slice_shares_the_layers(model):
    front = model[:7]
    assert type(front) is nn.Sequential and front.conv2 is model.conv2 and model[-1] is model.dense2
    assert front(torch.zeros(1, 1, 28, 28)).shape == (1, 32, 14, 14)


RELATIVES = {"CNN": 437_738, "LeNet": 21_840, "Compact": 422_474, "Simple": 1_199_882, "Improved": 2_531_946}
RELATIVES |= {"MLP": 784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10}


@pytest.mark.parametrize("name", list(RELATIVES))
def test_relatives(name):
    network = getattr(ml, name)(3)
    assert sum(p.numel() for p in network.parameters()) == RELATIVES[name]
    assert network.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    same, other = getattr(ml, name)(3).state_dict(), getattr(ml, name)(4).state_dict()
    weights = [key for key in same if key.endswith("weight") and same[key].ndim > 1]
    assert all(torch.equal(network.state_dict()[key], same[key]) for key in weights)
    assert not any(torch.equal(same[key], other[key]) for key in weights)
    if network.takes_crops:
        assert network(torch.zeros(2, 1, 24, 24)).shape == (2, 10)
    else:
        with pytest.raises(RuntimeError):
            network(torch.zeros(2, 1, 24, 24))
    assert {network.__name__ for network in models.RELATIVES} == set(RELATIVES)


@pytest.mark.parametrize("name", list(RELATIVES))
def test_relatives_can_be_saved_folded_and_traced(name, tmp_path):
    network = getattr(ml, name)(1).eval()
    pixels = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    images = ml.normalise(pixels)
    loaded = ml.load(ml.Run(network).save(tmp_path / "it.safetensors")).model
    assert type(loaded) is type(network) and torch.equal(loaded(images), network(images))
    torch.testing.assert_close(ml.folded(network)(images), network(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ml.trace(network, pixels[0]).logits, network(images[:1])[0].detach())


def test_mlp_takes_its_sizes(tmp_path):
    network = ml.MLP(hidden=(40, 30, 20), dropout=0.4)
    assert [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, nn.Linear)] == [
        (784, 40), (40, 30), (30, 20), (20, 10),
    ]  # fmt: skip
    assert [layer.p for layer in network if isinstance(layer, nn.Dropout)] == [0.4] * 3
    assert sum(p.numel() for p in ml.MLP(hidden=()).parameters()) == 7850
    loaded = ml.load(ml.Run(network.eval()).save(tmp_path / "mlp.safetensors")).model
    assert loaded.arguments == {"classes": 10, "hidden": [40, 30, 20], "dropout": 0.4}
    for wrong in ({"hidden": (0,)}, {"hidden": (1.5,)}, {"dropout": 1}):
        with pytest.raises(ValueError, match=r"try hidden=\(256, 128\)"):
            ml.MLP(**wrong)


@pytest.mark.parametrize("name", list(RELATIVES))
def test_layer_table_agrees_with_torchinfo(name):
    model = getattr(ml, name)().eval()
    table = ml.layer_table(model)
    info = torchinfo.summary(model, (1, 1, 28, 28), verbose=0)
    leaves = [layer for layer in info.summary_list if layer.depth == 1]
    assert list(table["name"]) == [layer.var_name for layer in leaves]
    assert list(table["kind"]) == [layer.class_name for layer in leaves]
    assert list(table["output_shape"]) == [tuple(layer.output_size[1:]) for layer in leaves]
    assert list(table["parameters"]) == [max(layer.num_params, 0) for layer in leaves]
    # torchinfo counts a bias as a multiply-add for each cell it is added to, and the norms; we count neither.
    for row, layer in zip(table.itertuples(), leaves, strict=True):
        if row.kind in ("Conv2d", "Linear"):
            cells = row.output_shape[1] * row.output_shape[2] if row.kind == "Conv2d" else 1
            assert row.multiply_adds + cells * row.output_shape[0] == layer.macs
        else:
            assert row.multiply_adds == 0
    assert name != "CNN" or table["multiply_adds"].sum() == 22_199_296


def test_layer_table_leaves_the_model_as_it_was():
    model = ml.CNN().train()
    mean = model.norm1.running_mean.clone()
    ml.layer_table(model)
    assert model.training and torch.equal(model.norm1.running_mean, mean)
    assert not any(layer._forward_hooks for layer in model)
    with pytest.raises(RuntimeError):
        ml.layer_table(model, (1, 3, 28, 28))
    assert model.training and not any(layer._forward_hooks for layer in model)


@given(
    size=st.integers(1, 40),
    kernel_size=st.integers(1, 9),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
)
@settings(max_examples=60, deadline=None)
def test_output_size_agrees_with_conv2d(size, kernel_size, stride, padding):
    assume(size + 2 * padding >= kernel_size)
    layer = nn.Conv2d(1, 1, kernel_size, stride, padding)
    assert ml.output_size(size, kernel_size, stride, padding) == layer(torch.zeros(1, 1, size, size)).shape[-1]


def test_output_size_refuses_a_window_that_does_not_fit():
    with pytest.raises(ValueError, match="more padding"):
        ml.output_size(3, kernel_size=5)


@given(
    layers=st.lists(
        st.tuples(
            st.sampled_from(["conv", "pool", "relu"]),
            st.integers(1, 3),
            st.integers(1, 2),
            st.integers(0, 1),
            st.integers(1, 2),
        ),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None)
def test_receptive_field_of_any_stack_agrees_with_gradients(layers):
    stack = nn.Sequential()
    for kind, kernel, stride, padding, dilation in layers:
        if kind == "conv":
            stack.append(nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False))
            nn.init.ones_(stack[-1].weight)  # so that no ReLU shuts the way back
        else:
            stack.append(nn.AvgPool2d(kernel, stride) if kind == "pool" else nn.ReLU())
    picture = torch.ones(1, 1, 96, 96, requires_grad=True)
    output = stack(picture)
    cell = output.shape[-1] // 2
    output[0, 0, cell, cell].backward()
    seen = picture.grad[0, 0].nonzero()
    fields = ml.receptive_field(stack)
    size, step, start = fields.iloc[-1] if len(fields) else (1, 1, 0)
    assert seen.amin(0).tolist() == [start + cell * step] * 2
    assert seen.amax(0).tolist() == [start + cell * step + size - 1] * 2


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 1, (3, 5), stride=(1, 2), padding=(0, 1)),
        nn.Conv2d(1, 1, 3, padding=1),
        nn.MaxPool2d(2),
        nn.AvgPool2d((2, 3), padding=(1, 0)),
    ],
)
def test_sides_are_what_the_layer_computes_with(layer):
    window = layers.sides(layer)
    found = [
        layers.output_size(*each)
        for each in zip((28, 20), window.kernel_size, window.stride, window.padding, strict=True)
    ]
    assert found == list(layer(torch.zeros(1, 1, 28, 20)).shape[2:]) and window.dilation == (1, 1)


def test_sides_refuse_a_word_for_the_padding():
    with pytest.raises(ValueError, match='The padding is "same"; write it as a number of pixels'):
        ml.receptive_field(nn.Sequential(nn.Conv2d(1, 1, 3, padding="same")))


def test_receptive_field_refuses_what_it_cannot_follow():
    with pytest.raises(ValueError, match="a ConvTranspose2d"):
        ml.receptive_field(nn.Sequential(nn.ConvTranspose2d(1, 1, 3)))


def test_receptive_field_agrees_with_gradients():
    """The pixels that can change a cell are those with a gradient (average pooling, so that none loses)."""
    model = ml.CNN().eval()
    fields = ml.receptive_field(model)
    assert list(fields["size"]) == [3, 5, 6, 10, 14, 16, 24, 28]
    smooth = nn.Sequential(
        *(
            nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer
            for layer in model
            if not isinstance(layer, nn.ReLU)
        )
    )
    names = [name for name, layer in model.named_children() if not isinstance(layer, nn.ReLU)]
    for name, field in fields.iterrows():
        picture = torch.zeros(1, 1, 28, 28, requires_grad=True)
        output = smooth[: names.index(name) + 1](picture)
        cell = output.shape[-1] // 2
        output[0, :, cell, cell].sum().backward()
        seen = picture.grad[0, 0].nonzero()
        first = field["start"] + cell * field["step"]
        expected = [max(first, 0), min(first + field["size"], 28) - 1]
        assert seen.amin(0).tolist() == [expected[0]] * 2 and seen.amax(0).tolist() == [expected[1]] * 2


@pytest.mark.parametrize("p", [0.25, 0.5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_agrees_with_pytorchs(p, layout):
    """The same share falls away, everywhere alike; what stays is scaled as PyTorch scales it; so is the gradient."""
    layer = models.Dropout(p)
    images = (torch.rand(40, 8, 14, 14) + 0.5).contiguous(memory_format=layout).requires_grad_()
    torch.manual_seed(0)
    output = layer(images)
    output.sum().backward()
    kept = output != 0
    torch.testing.assert_close(output[kept], (images / (1 - p))[kept])
    assert torch.equal(images.grad, kept / (1 - p))
    count = kept.numel()
    assert abs(kept.float().mean() - (1 - p)) < 4 * (p * (1 - p) / count) ** 0.5
    for place in kept.unbind(0)[:2] + kept.unbind(1)[:2] + kept.unbind(3)[:2]:  # no image, channel or column apart
        assert abs(place.float().mean() - (1 - p)) < 4.5 * (p * (1 - p) / place.numel()) ** 0.5
    neighbours = (kept[..., 1:] & kept[..., :-1]).float().mean()
    assert neighbours == pytest.approx((1 - p) ** 2, abs=0.015)
    torch.manual_seed(0)
    assert torch.equal(layer(images), output)
    assert not torch.equal(layer(images), output)
    assert torch.equal(layer.eval()(images), images)


def test_dropout_leaves_the_rare_cases_to_pytorch():
    everything, nothing = models.Dropout(1.0), models.Dropout(0.0)
    images = torch.ones(2, 3, 4, 4)
    assert not everything(images).any() and torch.equal(nothing(images), images)
    strided = models.Dropout(0.5)(torch.ones(64, 64)[:, ::2])
    assert set(strided.unique().tolist()) == {0.0, 2.0}


def lived(seed: int) -> ml.CNN:
    """A network whose norms have seen something, so that folding them has something to do."""
    model = ml.CNN(seed).train()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.weight.uniform_(-1, 2)
                layer.bias.normal_()
        model(torch.randn(32, 1, 28, 28, generator=torch.Generator().manual_seed(seed)))
    return model.eval()


def test_folded_network_computes_the_same():
    model, images = lived(1), torch.randn(16, 1, 28, 28)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = layers.folded(model)
    torch.testing.assert_close(small(images), model(images), atol=1e-4, rtol=1e-4)
    assert [name for name, _ in small.named_children() if "norm" in name or "drop" in name] == []
    assert len(small) == 17 and small.conv5.out_channels == 128
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(layers.folded(model.train())(images), small(images))  # whatever the mode


def test_folding_leaves_a_norm_without_a_layer_before_it():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2))
    images = torch.randn(3, 1, 8, 8)
    model(images)
    small = layers.folded(model)
    assert len(small) == 4
    unmeasured = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))
    assert len(layers.folded(unmeasured)) == 2
    torch.testing.assert_close(small(images), model.eval()(images))


def test_ensemble_is_the_mean_of_its_members():
    members, images = [lived(seed) for seed in range(3)], torch.randn(8, 1, 28, 28)
    ensemble = models.Ensemble(members)
    expected = torch.stack([member(images).softmax(1) for member in members]).mean(0)
    torch.testing.assert_close(ensemble(images).exp(), expected, atol=1e-6, rtol=1e-4)
    assert len(models.Ensemble(2).members) == 2


def test_ensemble_is_scored_and_kept_like_a_network(offline, tmp_path):
    ensemble = models.Ensemble([lived(seed) for seed in range(5)])
    with torch.no_grad():
        said = ensemble(ml.normalise(offline.images[:200])).argmax(1)
    assert ml.evaluate(ensemble, offline[:200]).errors == int((said != offline.labels[:200]).sum())
    path = ml.Run(ensemble.half()).save(tmp_path / "team.safetensors")
    again = ml.load(path).model
    assert path.stat().st_size < 5 * 2 * 450_000
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, ensemble.state_dict()[name].to(tensor.dtype))
    assert {p.dtype for p in again.parameters()} == {torch.float32}
