import errno
import json
import os
import pickle
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import mnistlab as ml
from mnistlab import paths


@pytest.fixture(scope="module")
def run(offline) -> ml.Run:
    train, val = offline[:400].split(0.2)
    return ml.fit(ml.CNN(), train, val, ml.TrainConfig(batch_size=32), show_progress=False)


@pytest.fixture
def saved(run, tmp_path) -> Path:
    return run.save(tmp_path / "mine.safetensors")


def test_save_and_load(run, saved, offline):
    again = ml.load(saved)
    with torch.no_grad():
        assert torch.equal(again.model(ml.normalise(offline.images[:8])), run.model(ml.normalise(offline.images[:8])))
    assert again.config == run.config and again.data == run.data and again.hardware == run.hardware
    assert again.versions == run.versions and not again.model.training
    pd.testing.assert_frame_equal(again.history, run.history, check_dtype=False, atol=1e-5)


def test_weights_are_readable_by_others(run, saved):
    plain = ml.CNN(9)
    plain.load_state_dict(load_file(saved))
    assert torch.equal(plain.conv5.weight, run.model.conv5.weight)


def test_card(run, saved, offline):
    card = json.loads(saved.with_suffix(".json").read_text())
    assert card["network"] == "CNN" and card["parameters"] == 437_738
    assert card["config"]["augment"]["degrees"] == 10 and card["config"]["seed"] == 0
    assert card["data"]["source"] == offline.source and len(card["data"]["md5"]) == 32
    assert set(card["versions"]) == {"mnistlab", "torch", "torchvision", "python"}
    assert len(card["date"]) == 10 and len(card["history"]) == len(run.history)


def test_metrics_go_into_the_card(run, tmp_path):
    run.metrics["test"] = ml.Evaluation(5, 100, 0.2).card()
    path = run.save(tmp_path / "with_metrics.safetensors")
    assert ml.load(path).metrics["test"]["accuracy"] == 0.95


def test_failed_save_leaves_the_old_files(saved, monkeypatch):
    before = {path: path.read_bytes() for path in saved.parent.iterdir()}
    other = ml.Run(ml.CNN(5), metrics={"x": torch.zeros(1)})  # nothing that JSON can hold
    with pytest.raises(TypeError):
        other.save(saved)
    other.metrics = {}
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        other.save(saved)
    assert {path: path.read_bytes() for path in saved.parent.iterdir()} == before


def test_killed_between_its_two_files_a_save_leaves_the_old_pair(run, saved, monkeypatch):
    """The card is moved into place, and the process dies before the weights are."""
    other, replace = ml.Run(ml.CNN(5).eval()), os.replace

    class Killed(BaseException):
        pass

    def dying(source, target):
        if str(target).endswith(".safetensors"):
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", dying)
    for seed in (5, 6):  # and the next one dies there, too
        with pytest.raises(Killed):
            ml.Run(ml.CNN(seed).eval()).save(saved)
    monkeypatch.undo()
    again = ml.load(saved)
    assert again.config == run.config and torch.equal(again.model.conv1.weight, run.model.conv1.weight)
    other.save(saved)
    assert ml.load(saved).config is None
    assert {path.name for path in saved.parent.iterdir()} == {saved.name, saved.with_suffix(".json").name}


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
    card = json.loads(saved.with_suffix(".json").read_text()) | lie
    saved.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ml.CheckpointError, match="Fetch it again"):
        ml.load(saved)


def test_card_of_other_weights_is_refused(run, saved, tmp_path):
    other = ml.Run(ml.CNN(5)).save(tmp_path / "other.safetensors")
    saved.write_bytes(other.read_bytes())
    with pytest.raises(ml.CheckpointError, match="other weights"):
        ml.load(saved)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"network": "LeNet"}, "does not fit LeNet"),
        ({"network": "MLP", "arguments": {"hidden": [10**9]}}, "does not fit MLP"),
        ({"network": "MLP", "arguments": {"hidden": ["many"]}}, "no MLP that can be made"),
        ({"network": "CNN", "arguments": {"wide": 3}}, "no CNN that can be made"),
        ({"network": "Sequential"}, "which mnistlab does not have"),
        ({"arguments": 7}, "arguments"),
    ],
)
def test_cards_that_lie_about_the_network_are_refused(saved, lie, words):
    """A billion cells would take 3 TB, if the card were believed before the weights were looked at."""
    card = json.loads(saved.with_suffix(".json").read_text()) | lie
    saved.with_suffix(".json").write_text(json.dumps(card))
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
    """The second saves all of its own between the two moves of the first."""
    path, replaced = tmp_path / "it.safetensors", []
    first, second = (ml.Run(ml.LeNet(seed), metrics={"seed": seed}) for seed in (1, 2))
    move = os.replace

    def replace(source: Path, target: Path) -> None:
        replaced.append(target)
        move(source, target)
        if len(replaced) == 1:
            second.save(path)

    monkeypatch.setattr(os, "replace", replace)
    first.save(path)
    run = ml.load(path)
    assert len(replaced) > 4 and run.metrics == {"seed": 1}
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
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, path)
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"conv3.weight": None}, "lacks conv3.weight"),
        ({"extra": torch.zeros(1)}, "has extra, which the network has not"),
        ({"dense2.bias": torch.zeros(11)}, r"dense2.bias is \(11,\) instead of \(10,\)"),
    ],
)
def test_what_does_not_fit_is_refused(saved, tensors, words):
    change(saved, **tensors)
    with pytest.raises(ml.CheckpointError, match=words):
        ml.load(saved)


def test_damaged_files_are_refused(saved):
    card = saved.with_suffix(".json")
    card.write_text(card.read_text()[:50])
    with pytest.raises(ml.CheckpointError, match="not a card in valid JSON"):
        ml.load(saved)
    card.unlink()
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
    file = saved.with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | entry))
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


SHIPPED = ml.home() / "models" / "cnn.safetensors"


def test_shipped_network_keeps_its_word(test_digits):
    """Its card says how many of MNIST's test digits it gets wrong; here they are counted again."""
    run = ml.load(SHIPPED)
    assert run.metrics["test"]["accuracy"] >= 0.996 and run.data["count"] == 60_000
    if not test_digits.is_mnist:
        assert ml.evaluate(run.model, test_digits).accuracy > 0.93
    else:
        assert ml.evaluate(run.model, test_digits).errors == pytest.approx(run.metrics["test"]["errors"], abs=1)
