"""Networks that other people wrote do all that ours do, and what cannot be done is said in a sentence."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mnistlab as ml
from mnistlab.shipping import export
from tests.networks.others import NETWORKS

pytestmark = pytest.mark.slow

CONFIG = ml.TrainConfig.quick(epochs=3, batch_size=32, crop=0, muon=0.1, precision="float32", device="cpu")
PICTURE = ml.home() / "data" / "samples" / "photo_ruled_9_2.jpg"
GREY = {"three channels": 3}  # what takes colours


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    return nn.Sequential(ml.Repeat(GREY[name]), model) if name in GREY else model


def bare(model: nn.Module, digits: ml.Digits) -> torch.Tensor:
    """The network's own answers, in PyTorch alone."""
    pixels = (digits.images.float() / 255 - 0.1306604763) / 0.3081078039
    with torch.no_grad():
        return model.eval()(pixels)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_goes_all_the_way(offline, tmp_path, name):
    model, few = network(name), offline[:320]
    before = F.cross_entropy(bare(model, few), few.labels)
    run = ml.fit(model, few, few[:64], CONFIG, show_progress=False)
    answers = bare(run.model, few)
    assert F.cross_entropy(answers, few.labels) < before - 0.05, "it learned nothing"

    result = ml.evaluate(run.model, few)
    assert result.errors == int((answers.argmax(1) != few.labels).sum())
    torch.testing.assert_close(ml.logits(run.model, few.images), answers, rtol=1e-4, atol=1e-4)
    assert (run.predict(few).predicted == answers.argmax(1).numpy()).all()
    modes = [layer.training for layer in run.model.train().modules()]
    predictor = ml.Predictor(run)
    torch.testing.assert_close(predictor.logits(few.images), answers, rtol=1e-4, atol=1e-4)
    assert [layer.training for layer in run.model.modules()] == modes, "the predictor changed the run's network"
    assert predictor.predict(PICTURE).digit in range(10)

    path = run.save(tmp_path / "own.safetensors")
    again = ml.load(path, model=network(name)).model
    torch.testing.assert_close(bare(again, few), answers)
    with pytest.raises(ml.CheckpointError, match=r"Is it a network of your own\? .*model="):
        ml.load(path)

    convolutions = [name for name, layer in run.model.named_modules() if isinstance(layer, nn.Conv2d)]
    assert ml.grad_cam(run.model, few.images[0], 3, convolutions[-1]).ndim == 2
    assert len(ml.activation_statistics(run.model, few[:8])) > 10
    for form in ("pt2", "onnx"):
        exported = export.load(export.write(run, tmp_path / f"own.{form}"))
        torch.testing.assert_close(exported(few.images)[0], answers, rtol=1e-3, atol=1e-3)
    with pytest.raises(export.explorer.ExplorerError, match=r"one after the other|cannot show"):
        export.write(run, tmp_path / "own.html")
    if name == "nested":  # its layers do follow one another
        torch.testing.assert_close(ml.trace(run.model, few.images[0]).logits, answers[0], rtol=1e-4, atol=1e-4)
    else:
        with pytest.raises(ValueError, match=r"does not take what .* gives|does not put out"):
            ml.trace(run.model, few.images[0])


@pytest.mark.parametrize("name", ["view", "log-softmax", "grouped", "separable"])
def test_the_layout_in_memory_changes_no_step(offline, name, monkeypatch):
    """The same run, as it is laid out and in PyTorch's own layout, for networks that take both and that do not."""
    config = replace(CONFIG, epochs=0.5, precision="float64", muon=0.05)
    runs = []
    for layout in (None, torch.contiguous_format):
        if layout is not None:
            monkeypatch.setattr("mnistlab.training.loop.lay_out", lambda model: torch.contiguous_format)
        runs.append(ml.fit(network(name), offline[:320], config=config, show_progress=False))
    first, second = (run.model.state_dict() for run in runs)
    for part, tensor in first.items():
        torch.testing.assert_close(tensor, second[part], rtol=1e-5, atol=1e-6)


def test_whole_maps_are_not_dropped_unless_asked_for(offline):
    model = network("reuse").train()
    seen = []

    def watch(step: int, model: nn.Module) -> None:
        seen.append(model.dropout.training)

    for dropout in (False, True):
        ml.fit(model, offline[:64], config=replace(CONFIG, epochs=1, dropout=dropout), watch=watch, show_progress=False)
    assert seen[1] is False and seen[-1] is True


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (NETWORKS["three channels"], r"ThreeChannels takes pictures of 3 channels, .*ml\.Repeat\(3\)"),
        (lambda: nn.Sequential(nn.Linear(784, 10)), r"takes rows of 784 pixels.*nn\.Flatten\(\)"),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(392, 10)),
            r"takes pictures of 32×32 pixels.*ReplicationPad2d\(2\)",
        ),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 10, 3)),
            r"Sequential gives (\(.*, 10, 26, 26\); logits are needed|10×26×26 numbers for each picture)",
        ),
    ],
    ids=["channels", "rows", "size", "maps"],
)
def test_what_takes_other_pictures_says_so(offline, model, said):
    calls = {
        "logits": lambda net: ml.logits(net, offline.images[:4]),
        "evaluate": lambda net: ml.evaluate(net, offline[:4]),
        "fit": lambda net: ml.fit(net, offline[:64], config=CONFIG, show_progress=False),
        "Predictor": lambda net: ml.Predictor(ml.Run(net)).predict(PICTURE),
    }
    for name, call in calls.items():
        if name == "logits" and "numbers for each" in said:  # of a part of a network, its maps are what is wanted
            assert call(model()).shape == (4, 10, 26, 26)
            continue
        with pytest.raises(ml.NetworkError, match=said):
            call(model())


def test_the_remedies_work(offline):
    for remedied in (
        nn.Sequential(ml.Repeat(3), NETWORKS["three channels"]()),
        nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        nn.Sequential(nn.ReplicationPad2d(2), nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(392, 10)),
    ):
        assert ml.logits(remedied, offline.images[:4]).shape == (4, 10)


def test_a_repeated_channel_is_what_torchs_repeat_gives():
    images = torch.randn(2, 1, 5, 4)
    assert torch.equal(ml.Repeat(3)(images), images.repeat(1, 3, 1, 1))


def test_one_relu_in_two_places(offline, tmp_path):
    relu, norm = nn.ReLU(), nn.BatchNorm1d(32)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), norm, relu, nn.Linear(32, 32), norm, relu)
    model = model.append(nn.Linear(32, 10)).eval()
    expected = bare(model, offline[:8])
    torch.testing.assert_close(ml.Predictor(ml.Run(model)).logits(offline.images[:8]), expected)
    torch.testing.assert_close(ml.folded(model)(ml.normalise(offline.images[:8])), expected)
    traced = ml.trace(model, offline.images[0])
    assert [name for name in traced.steps if "(2)" in name] == ["2 (2)", "3 (2)"]
    torch.testing.assert_close(traced.logits, expected[0])
    ledger = traced.ledger("2 (2)", 5)
    assert ledger.total == pytest.approx(float(traced["2 (2)"].output[5]), abs=1e-4)
    export.write(ml.Run(model), tmp_path / "twice.html")
