"""Pictures of other classes than the ten digits, all the way: learned, counted, drawn, read, filmed and exported."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from sklearn.metrics import confusion_matrix

import mnistlab as ml
from mnistlab.__main__ import main
from mnistlab.course import own_data
from mnistlab.figures import plots
from mnistlab.live import explorer
from mnistlab.shipping import export, report

pytestmark = pytest.mark.slow

CONFIG = ml.TrainConfig(epochs=8, batch_size=32, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return own_data.draw_signs(tmp_path_factory.mktemp("signs") / "signs", people=6, each=4)


@pytest.fixture(scope="module")
def signs(folder) -> ml.Digits:
    return ml.load_images(folder)


@pytest.fixture(scope="module")
def parts(signs) -> tuple[ml.Digits, ml.Digits]:
    return signs.split(0.25, seed=0)


@pytest.fixture(scope="module")
def run(parts) -> ml.Run:
    return ml.fit(ml.CNN(0, len(parts[0].classes)), *parts, CONFIG, show_progress=False)


def test_names_travel(run, parts, tmp_path, folder):
    _, test = parts
    assert run.classes == tuple(own_data.SIGNS)
    predictions = run.predict(test)
    assert ml.evaluate(run.model, test).accuracy > 0.8
    counts = ml.analysis.confusion(predictions).to_numpy()
    np.testing.assert_array_equal(counts, confusion_matrix(test.labels, predictions.predicted, labels=range(9)))
    assert list(ml.analysis.per_digit(predictions).index) == list(own_data.SIGNS)
    assert list(predictions.summary().index)[-1] == "all" and "circle" in predictions.summary().index
    assert "pcircle" in predictions.table and "p0" not in predictions.table
    written = predictions.to_csv(tmp_path / "all.csv").read_text().splitlines()
    assert written[1].split(",")[0] in own_data.SIGNS
    again = ml.load(run.save(tmp_path / "signs.safetensors"))
    assert again.classes == run.classes and "circle" in repr(again)
    assert (again.predict(test).predicted == predictions.predicted).all()
    said = ml.Predictor(again).predict(folder / "circle" / "person 1 no 2.png")
    assert said.name == "circle" and str(said).startswith("circle (")
    table = ml.Predictor(again).predict_all(folder / "N").named()
    assert (table["prediction"] == "N").mean() > 0.7


def test_figures_and_reports_name_no_digit(run, parts, tmp_path):
    _, test = parts
    predictions = run.predict(test)
    figures = [
        plots.confusion(predictions),
        plots.answer_counts(predictions),
        plots.digit_grid(test[:20], "Some signs"),
    ]
    for figure in figures:
        words = " ".join(text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text")))
        assert "igit" not in words + figure.alt and figure.png()
    _, files = report.write(run, test, tmp_path / "report")
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert set(metrics["test_per_digit"]) == set(own_data.SIGNS) and len(files) == 6


def test_exported_files_know_the_names(run, parts, tmp_path):
    _, test = parts
    model = onnx.load(export.write(run, tmp_path / "signs.onnx"))
    known = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(known["classes"]) == list(own_data.SIGNS)
    extra = {"classes.json": ""}
    torch.export.load(export.write(run, tmp_path / "signs.pt2"), extra_files=extra)
    assert json.loads(extra["classes.json"]) == list(own_data.SIGNS)
    for name in ("signs.onnx", "signs.pt2"):
        agreement = export.check(tmp_path / name, run, test)
        assert agreement.answers == 0 and agreement.logits < 1e-3
    page = explorer.show(run, test[:3])
    assert page.network["classes"] == list(own_data.SIGNS)
    assert [sample["label"] for sample in page.digits] == test[:3].names
    assert explorer.show(run).digits == [], "the test digits are no signs"


def test_a_film_names_what_it_reads(run, parts):
    _, test = parts
    label = int(test.labels[0])
    film = ml.films.forward(ml.trace(run.model, test.images[0], label, run.classes), show_progress=False)
    words = {words.text for frame in film.words for words in frame}
    assert any("says " in text and test.names[0] in text for text in words)


@pytest.mark.parametrize("count", [2, 26, 62])
def test_any_number_of_classes(count, tmp_path, offline):
    names = tuple(chr(0x41 + n) if n < 26 else f"sign {n}" for n in range(count))
    labels = torch.arange(4 * count) % count
    digits = ml.Digits(offline.images[: 4 * count], labels, "made up", "train", names)
    config = replace(CONFIG, epochs=1, batch_size=min(32, 2 * count))
    run = ml.fit(ml.Compact(0, count), digits, digits, config, show_progress=False)
    predictions = run.predict(digits)
    assert predictions.probabilities.shape == (4 * count, count)
    assert plots.confusion(predictions).png() and plots.answer_counts(predictions).png()
    assert explorer.show(run, digits[:2]).network["stages"][-1]["shape"][0] == count
    assert ml.load(run.save(tmp_path / "it.safetensors")).classes == names
    assert ml.films.training({0: run.model}, digits) if count < 62 else True


def test_a_network_for_other_classes_says_so(signs, offline):
    with pytest.raises(ml.NetworkError, match=r"CNN gives 10 numbers .* 9 classes\. .*CNN\(classes=9\)"):
        ml.fit(ml.CNN(), signs, config=CONFIG, show_progress=False)
    with pytest.raises(ml.DataError, match="tells 10 classes apart, and here are 9"):
        ml.evaluate(ml.CNN(), signs)
    with pytest.raises(ml.DataError, match="10 logits for 9 classes"):
        ml.predict(ml.CNN(), signs)
    with pytest.raises(ml.TrainingError, match="different classes"):
        ml.fit(ml.CNN(0, 9), signs, offline[:20], CONFIG, show_progress=False)


def test_a_missing_class_is_no_crash(offline, tmp_path, monkeypatch, capsys):
    """Digits without any 7."""
    rest = offline[offline.labels != 7][:200]
    run = ml.fit(ml.Compact(), rest, rest, replace(CONFIG, epochs=1), show_progress=False)
    assert ml.analysis.per_digit(run.predict(rest)).loc[7, "count"] == 0
    assert plots.confusion(run.predict(rest)).png()
    monkeypatch.setattr(ml, "load_digits", lambda split: rest)
    monkeypatch.setattr("mnistlab.live.explorer.load_digits", lambda split: rest)
    assert len(explorer.show(run).digits) == 9
    assert main(["animate", "--out", str(tmp_path / "it.gif")]) == 1
    assert "There is no 7 among the test digits; there are 0, 1, 2, 3, 4, 5, 6, 8, 9." in capsys.readouterr().err


def test_the_command_line_learns_and_reads_signs(folder, tmp_path, capsys):
    train = ["train", "--data", str(folder), "--epochs", "4", "--batch-size", "32", "--out", str(tmp_path / "run")]
    assert main([*train, "--keep", "best", "--patience", "3"]) == 0
    said = capsys.readouterr().out
    assert "pictures held back from" in said and "epoch" in said and "igit" not in said.replace("--digit", "")
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(folder), "--split", "train"]) == 0
    assert "triangle" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), "--split", "train"]) == 1
    assert "The network knows A, D, H" in capsys.readouterr().err
    reader = ["--checkpoint", str(tmp_path / "run"), "--json", "-"]
    assert main(["predict", str(folder / "square"), *reader]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["prediction"] for row in rows} <= set(own_data.SIGNS)


def test_answers_where_nobody_knows_the_labels(tmp_path, monkeypatch, capsys, offline):
    monkeypatch.setattr(ml, "load_digits", lambda split: ml.Digits(offline.images[:100], None, "Kaggle", "test"))
    assert main(["evaluate"]) == 0
    said = capsys.readouterr().out
    assert "nobody gave labels" in said and "mean confidence" in said and said.count("\n") >= 10


def test_a_network_reads_pictures_as_it_learned_them(folder, tmp_path):
    """One that learned pictures as they are must not be shown what was cropped and centred."""
    plain = ml.load_images(folder, form="plain")
    run = ml.fit(ml.MLP(0, 9), plain, config=replace(CONFIG, crop=0, epochs=1), show_progress=False)
    predictor = ml.Predictor(ml.load(run.save(tmp_path / "plain.safetensors")))
    files = sorted((folder / "A").iterdir())
    expected = ml.predict(run.model, plain[: len(files)]).probabilities
    for file, row in zip(files[:3], expected, strict=False):
        np.testing.assert_allclose(predictor.predict(file).probabilities, row, atol=1e-4)
    np.testing.assert_allclose(predictor.predict_all(folder / "A").probabilities, expected, atol=1e-4)
    with pytest.raises(explorer.ExplorerError, match="only shrunk"):
        explorer.show(run)


def test_digits_that_are_not_their_numbers(offline, tmp_path):
    """Folders called 3 and 7: the answer is 3, and not class 0."""
    chosen = offline[(offline.labels == 3) | (offline.labels == 7)][:60]
    digits = ml.Digits(chosen.images, (chosen.labels == 7).long(), "two digits", "train", ("3", "7"))
    run = ml.fit(ml.Compact(0, 2), digits, digits, replace(CONFIG, epochs=2), show_progress=False)
    predictions = run.predict(digits)
    assert list(ml.analysis.per_digit(predictions).index) == ["3", "7"]
    assert set(predictions.named()["prediction"]) <= {"3", "7"}
    assert (
        digits.what == "digits"
        and ml.Predictor(run).predict(ml.home() / "data/samples/canvas_black_3_3.webp").name in "37"
    )


def test_a_network_of_ones_own_has_as_many_names_as_answers(tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 26))
    torch.save(model.state_dict(), tmp_path / "own.pth")
    run = ml.load(tmp_path / "own.pth", model=model)
    assert len(run.classes) == 26
    assert ml.Predictor(ml.Run(model)).predict(torch.full((28, 28), 0.0)).digit is None
    norm = torch.nn.BatchNorm1d(8)
    twice = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 8), norm, torch.nn.Linear(8, 8), norm, torch.nn.Linear(8, 10)
    )
    again = ml.load(ml.Run(twice.eval()).save(tmp_path / "twice.safetensors"), model=twice)
    assert again.model is twice


def test_layers_that_give_no_tensor_are_passed_over(offline):
    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.last = torch.nn.LSTM(28, 16, batch_first=True), torch.nn.Linear(16, 10)

        def forward(self, images):
            return self.last(self.lstm(images[:, 0])[0][:, -1])

    model = Rows()
    run = ml.fit(model, offline[:64], config=replace(CONFIG, crop=0, epochs=1), show_progress=False)
    assert ml.evaluate(run.model, offline[:64]).count == 64
    assert set(ml.activation_statistics(run.model, offline[:8])["name"]) == {"last"}
    with pytest.raises(ValueError, match="Rows"):
        ml.trace(run.model, offline.images[0])
