import dataclasses
import errno
import json
import math
import os
import pickle
from pathlib import Path

import html5lib
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import mnistlab as ml
from mnistlab import paths
from mnistlab.reading.familiarity import Familiarity
from mnistlab.runs import weights_md5


@pytest.fixture(scope="module")
def run(offline) -> ml.Run:
    train, val = offline[:400].split(0.2)
    return ml.fit(ml.CNN(), train, val, ml.TrainConfig(batch_size=32), show_progress=False)


@pytest.fixture
def saved(run, tmp_path) -> Path:
    return run.save(tmp_path / "mine.safetensors")


def card_of(path: Path) -> dict:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["card"])


def with_card(path: Path, changes: dict) -> None:
    """The same weights; the card as somebody else may have written it."""
    save_file(load_file(path), path, {"card": json.dumps(card_of(path) | changes)})


def test_save_and_load(run, saved, offline):
    again = ml.load(saved)
    with torch.no_grad():
        assert torch.equal(again.model(ml.normalise(offline.images[:8])), run.model(ml.normalise(offline.images[:8])))
    assert again.config == run.config and again.data == run.data and again.hardware == run.hardware
    assert again.versions == run.versions and again.date == run.date and not again.model.training
    pd.testing.assert_frame_equal(again.history, run.history, check_dtype=False, atol=1e-5)


def test_weights_are_readable_by_others(run, saved):
    plain = ml.CNN(9)
    plain.load_state_dict(load_file(saved))
    assert torch.equal(plain.conv5.weight, run.model.conv5.weight)


def test_a_run_is_one_file_and_always_the_same(run, saved, tmp_path):
    assert [path.name for path in saved.parent.iterdir()] == ["mine.safetensors"]
    before = saved.read_bytes()
    assert run.save(saved).read_bytes() == before
    assert ml.load(saved).save(tmp_path / "again.safetensors").read_bytes() == before


def test_card(run, saved, offline):
    card = card_of(saved)
    assert card == json.loads(json.dumps(ml.load(saved).card()))
    assert card["network"] == "CNN" and card["parameters"] == 437_738
    assert card["config"]["augment"]["degrees"] == 10 and card["config"]["seed"] == 0
    assert card["data"]["source"] == offline.source and len(card["data"]["md5"]) == 32
    assert set(card["versions"]) == {"mnistlab", "torch", "torchvision", "python"}
    assert len(card["date"]) == 10 and len(card["history"]) == len(run.history)


def test_metrics_go_into_the_card(run, tmp_path):
    run.metrics["test"] = ml.Evaluation(5, 100, 0.2).card()
    path = run.save(tmp_path / "with_metrics.safetensors")
    assert ml.load(path).metrics["test"]["accuracy"] == 0.95


def test_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()
    other = ml.Run(ml.CNN(5), metrics={"x": torch.zeros(1)})  # nothing that JSON can hold
    with pytest.raises(TypeError):
        other.save(saved)
    other.metrics = {}
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> None:
        write(path, content[: len(content) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        other.save(saved)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_killed_before_its_file_is_in_place_a_save_leaves_the_old_one(run, saved, monkeypatch):
    class Killed(BaseException):
        pass

    def dying(source, target):
        raise Killed

    monkeypatch.setattr(os, "replace", dying)
    for seed in (5, 6):
        with pytest.raises(Killed):
            ml.Run(ml.CNN(seed).eval()).save(saved)
    monkeypatch.undo()
    again = ml.load(saved)
    assert again.config == run.config and torch.equal(again.model.conv1.weight, run.model.conv1.weight)


def test_what_is_familiar_is_in_the_same_file(tmp_path):
    draw = torch.Generator().manual_seed(0)
    features, labels = torch.randn(100, 10, generator=draw), torch.arange(100) % 10
    familiar = Familiarity.of(features, labels, limit=3.5)
    path = ml.Run(ml.LeNet().eval(), familiar=familiar).save(tmp_path / "it.safetensors")
    again = ml.load(path).familiar
    assert again is not None and again.limit == 3.5
    assert torch.equal(again.distance(features), familiar.distance(features))
    names = {name for name in load_file(path) if name.startswith("familiar.")}
    assert names == {"familiar.means", "familiar.precision", "familiar.limit"}
    for name, tensor in {"means": torch.zeros(10, 11), "precision": torch.full((10, 10), math.nan)}.items():
        save_file(load_file(path) | {f"familiar.{name}": tensor}, tmp_path / "bad.safetensors")
        with pytest.raises(ml.CheckpointError, match=r"means \(C, F\)|not a number"):
            ml.load(tmp_path / "bad.safetensors")
    wrong = dataclasses.replace(familiar, precision=familiar.precision[1:])
    path = ml.Run(ml.LeNet().eval(), familiar=wrong).save(tmp_path / "bad.safetensors")
    with pytest.raises(ml.CheckpointError, match=r"precision \(F, F\)"):
        ml.load(path)


def test_numbers_that_are_none_are_refused(saved):
    change(saved, **{"conv3.bias": torch.full((64,), float("nan"))})
    with pytest.raises(ml.CheckpointError, match=r"infinite or none, in conv3.bias"):
        ml.load(saved)


@pytest.mark.parametrize(
    "lie",
    [{"history": 7}, {"history": [7]}, {"config": [1]}, {"metrics": True}, {"metrics": {"temperature": {"value": 0}}}],
    ids=str,
)
def test_cards_in_a_form_that_no_card_has_are_refused(saved, lie):
    with_card(saved, lie)
    with pytest.raises(ml.CheckpointError, match="Fetch it again"):
        ml.load(saved)


def test_weights_that_changed_on_their_way_are_refused(saved):
    """One bit of one weight, as a bad disk may turn it."""
    content = bytearray(saved.read_bytes())
    content[-1000] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ml.CheckpointError, match=r"damaged.*Fetch it again"):
        ml.load(saved)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"network": "LeNet"}, "does not fit LeNet"),
        ({"network": "MLP", "arguments": {"hidden": [10**9]}}, "does not fit MLP"),
        ({"network": "MLP", "arguments": {"hidden": ["many"]}}, "another version.*MLP"),
        ({"network": "CNN", "arguments": {"wide": 3}}, "another version.*wide"),
        ({"network": "Sequential"}, "which mnistlab does not have"),
        ({"arguments": 7}, "arguments"),
        ({"network": "MLP", "arguments": {"hidden": [2**70]}}, "another version"),
        ({"network": "MLP", "arguments": {"hidden": [1] * 10**6}}, "arguments in a form that no card has"),
        ({"network": "Ensemble", "arguments": {"members": 10**9}}, "1 to 100 members"),
    ],
)
def test_cards_that_lie_about_the_network_are_refused(saved, lie, words):
    """A billion cells would take 3 TB, if the card were believed before the weights were looked at."""
    with_card(saved, lie)
    with pytest.raises(ml.CheckpointError, match=words):
        ml.load(saved)


def test_a_folder_stands_for_its_checkpoint(run, tmp_path):
    run.save(tmp_path / "checkpoint.safetensors")
    assert torch.equal(ml.load(tmp_path).model.conv1.weight, run.model.conv1.weight)
    with pytest.raises(ml.CheckpointError, match="There is no checkpoint"):
        ml.load(tmp_path.parent)


@pytest.mark.parametrize(
    "said", [{"metrics": {"temperature": 1.5}}, {"metrics": {"temperature": {"value": float("nan")}}}, {"data": ["x"]}]
)
def test_a_card_that_could_not_be_read_again_is_not_written(tmp_path, said):
    path = ml.Run(ml.LeNet()).save(tmp_path / "it.safetensors")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ml.CheckpointError, match="Put that right in the run"):
        ml.Run(ml.LeNet(1), **said).save(path)
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}


def test_of_two_who_save_at_once_one_remains(tmp_path, monkeypatch):
    """The second saves its file just before the first moves its own into place."""
    path, replaced = tmp_path / "it.safetensors", []
    first, second = (ml.Run(ml.LeNet(seed), metrics={"seed": seed}) for seed in (1, 2))
    move = os.replace

    def replace(source: Path, target: Path) -> None:
        replaced.append(target)
        if len(replaced) == 1:
            second.save(path)
        move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    first.save(path)
    run = ml.load(path)
    assert len(replaced) == 2 and run.metrics == {"seed": 1}
    assert torch.equal(run.model.conv1.weight, first.model.conv1.weight)


def test_written_whole(tmp_path):
    file = tmp_path / "new" / "file.txt"
    with paths.written_whole(file) as part:
        part.write_text("whole")
        assert not file.exists()
    assert file.read_text() == "whole" and os.listdir(file.parent) == ["file.txt"]

    def fail_half_way():
        with paths.written_whole(file) as part:
            part.write_text("ha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert file.read_text() == "whole" and os.listdir(file.parent) == ["file.txt"]

    def fail_for_room():
        with paths.written_whole(file) as part:
            part.write_text("ha")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: make room there.*file\.txt'$"):
        fail_for_room()
    assert file.read_text() == "whole" and os.listdir(file.parent) == ["file.txt"]

    def fail_within():
        with paths.written_whole(tmp_path / "outer.txt"):
            fail_for_room()

    with pytest.raises(OSError, match=r"^[^;]*make room there[^;]*; [^;]*file\.txt'$"):
        fail_within()


def test_parts_of_writers_that_were_killed_do_not_pile_up(tmp_path):
    file = tmp_path / "[a] *.txt"
    left, another, other_file = (tmp_path / f".{name}.part" for name in (f"{file.name}.7", f"{file.name}.8", "b.txt.7"))
    for part in (left, another, other_file):
        part.write_text("half")
        if part != another:  # which somebody may still be writing
            os.utime(part, (0, 0))
    with paths.written_whole(file) as part:
        part.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([file, another, other_file])


def change(path: Path, **tensors) -> None:
    """Other weights without a card, as somebody else may have written them."""
    weights = load_file(path) | tensors
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"conv3.weight": None}, "lacks conv3.weight"),
        ({"extra": torch.zeros(1)}, "has extra, which the network doesn't have"),
        ({"dense2.bias": torch.zeros(11)}, r"dense2.bias is \(11,\) instead of \(10,\)"),
    ],
)
def test_what_does_not_fit_is_refused(saved, tensors, words):
    change(saved, **tensors)
    with pytest.raises(ml.CheckpointError, match=words):
        ml.load(saved)


@pytest.mark.parametrize("card", ['{"network": "CNN"', "[" * 100_000, "7", "null"], ids=["half", "deep", "7", "null"])
def test_damaged_cards_are_refused(saved, card):
    save_file(load_file(saved), saved, {"card": card})
    with pytest.raises(ml.CheckpointError, match=r"card of .*Fetch it again"):
        ml.load(saved)


def test_damaged_files_are_refused(saved):
    save_file(load_file(saved), saved)
    assert ml.load(saved).config is None  # weights alone will do
    saved.write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(ml.CheckpointError, match="truncated"):
        ml.load(saved)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"network": "ViT"}, "network 'ViT'"),
        ({"network": "layer_table"}, "does not have"),
        ({"config": {"epochs": 1, "magic": 3}}, r"another version.*magic"),
        ({"config": {"epochs": 0}}, r"another version.*epochs"),
    ],
)
def test_card_of_another_kind_is_refused(saved, entry, words):
    with_card(saved, entry)
    with pytest.raises(ml.CheckpointError, match=words):
        ml.load(saved)


def test_missing_and_misnamed(run, tmp_path):
    with pytest.raises(ml.CheckpointError, match=r"There is no checkpoint.*mnistlab train"):
        ml.load(tmp_path / "none.safetensors")
    with pytest.raises(ml.CheckpointError, match=r"named \*\.safetensors"):
        run.save(tmp_path / "mine.pth")


def test_foreign_state_dict(run, tmp_path, offline):
    torch.save(run.model.state_dict(), tmp_path / "theirs.pth")
    theirs = ml.load(tmp_path / "theirs.pth")
    assert torch.equal(theirs.model.dense1.weight, run.model.dense1.weight) and theirs.config is None


@pytest.mark.parametrize(
    "network",
    [
        ml.CNN(1),
        ml.Improved(1),
        ml.Compact(1),
        ml.Simple(1),
        ml.LeNet(1),
        ml.MLP(1),
        ml.CNN(1, 26),
        ml.MLP(1, 5, hidden=(40, 30)),
        ml.Ensemble(2),
    ],
    ids=lambda network: type(network).__name__,
)
def test_weights_without_a_card_find_their_network(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "theirs.pth")
    save_file(network.state_dict(), tmp_path / "theirs.safetensors")
    for file in ("theirs.pth", "theirs.safetensors"):
        run = ml.load(tmp_path / file)
        assert type(run.model) is type(network)
        assert weights_md5(run.model.state_dict()) == weights_md5(network.state_dict())
        assert len(run.classes) == network.arguments["classes"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
@pytest.mark.parametrize("own", [False, True])
def test_what_stands_before_every_name_is_taken_off_and_said(tmp_path, prefix, own):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)) if own else ml.LeNet(3)
    weights = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 3, "model_state_dict": weights, "optimizer_state_dict": {"state": {}}}, tmp_path / "run.pth")
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)) if own else None
    with pytest.warns(UserWarning, match="was") as caught:
        run = ml.load(tmp_path / "run.pth", model=model)
    assert weights_md5(run.model.state_dict()) == weights_md5(network.state_dict())
    said = [str(warning.message) for warning in caught]
    assert any("only 'model_state_dict' was read" in one for one in said)
    assert any(f'"{prefix}" was taken off' in one for one in said)


def test_several_networks_in_one_file(tmp_path):
    weights = {name: ml.LeNet(seed).state_dict() for seed, name in enumerate(("student", "teacher"))}
    torch.save(weights, tmp_path / "both.pth")
    with pytest.raises(ml.CheckpointError, match=r"several networks \(student, teacher\).*\['student'\]"):
        ml.load(tmp_path / "both.pth")


def test_a_picture_is_no_file_of_weights(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    with pytest.raises(ml.CheckpointError, match="no file of weights: it doesn't begin as PyTorch's files do"):
        ml.load(tmp_path / "photo.jpg")


class Trap:
    def __reduce__(self):
        return os.mkdir, (Trap.path,)


def test_foreign_file_runs_no_code(tmp_path):
    Trap.path = str(tmp_path / "trapped")
    for file, write in (
        ("zip.pth", torch.save),
        ("plain.pth", lambda x, f: Path(f).write_bytes(pickle.dumps(x))),
    ):
        write({"conv1.weight": Trap()}, tmp_path / file)
        with pytest.raises(ml.CheckpointError, match="can run code"):
            ml.load(tmp_path / file)
    assert not Path(Trap.path).exists()


def test_foreign_file_that_is_no_state_dict(run, tmp_path):
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(ml.CheckpointError, match="not a state_dict"):
        ml.load(tmp_path / "list.pth")
    for content in (b"", b"hello", b"\x80", bytes(range(256))):
        (tmp_path / "damaged.pth").write_bytes(content)
        with pytest.raises(ml.CheckpointError, match="damaged"):
            ml.load(tmp_path / "damaged.pth")


def test_a_run_shows_itself(run, saved):
    run = ml.load(saved)
    run.metrics |= {"test": ml.Evaluation(28, 10_000, 0.1).card(), "temperature": {"value": 0.5387}}
    assert "\n" not in repr(run)
    for fact in ("CNN", "437,738", "320", run.data["source"], "epochs", "28 of 10,000", "0.539"):
        assert fact in repr(run) and fact in run._repr_html_(), fact
    for name in ("data", "metrics"):  # whatever a card holds, it stays text and never fails
        setattr(run, name, {"<b>&": {"errors": "<i>", "count": None}, "source": "<script>\n", "temperature": 7})
    assert "<b>" not in run._repr_html_() and "<script>" not in run._repr_html_() and "\n" not in repr(run)
    assert html5lib.HTMLParser(strict=True).parseFragment(run._repr_html_()) is not None


SHIPPED = ml.home() / "models" / "cnn.safetensors"


@pytest.mark.slow
def test_shipped_network_keeps_its_word(test_digits):
    """Its card says how many of MNIST's test digits it gets wrong; here they are counted again."""
    run = ml.load(SHIPPED)
    assert run.metrics["test"]["accuracy"] >= 0.996 and run.data["count"] == 60_000
    if not test_digits.is_mnist:
        assert ml.evaluate(run.model, test_digits).accuracy > 0.93
    else:
        assert ml.evaluate(run.model, test_digits).errors == pytest.approx(run.metrics["test"]["errors"], abs=1)
