"""Pictures and folders of them are read; what cannot be read is said; tables become files that others can open."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mnistlab as ml
from mnistlab.__main__ import main
from mnistlab.reading.familiarity import Familiarity
from mnistlab.reading.predictor import Stopped
from tests.reading.test_picture import as_bytes, written

SAMPLES = ml.home() / "data" / "samples"


@pytest.fixture(scope="module")
def predictor() -> ml.Predictor:
    return ml.Predictor.load()


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures, one of them broken."""
    for number in range(19):
        written("145"[number % 3], 60 + number).save(tmp_path / f"{number:02}.png")
    (tmp_path / "broken.png").write_bytes(as_bytes(written(), "PNG")[:150])
    (tmp_path / "notes.txt").write_text("not a picture, and not asked for")
    return tmp_path


def test_one_row_a_digit_and_softmax_as_torch_has_it(test_digits):
    run = ml.load(ml.home() / "models" / "cnn.safetensors")
    digits = test_digits[:50]
    run.metrics["temperature"] = {"value": 0.5}
    predictions = run.predict(digits)
    with torch.inference_mode():
        expected = (run.model(ml.normalise(digits.images)) / 0.5).double().softmax(1)
    table = predictions.table
    assert len(predictions) == 50 and np.allclose(predictions.probabilities, expected, atol=1e-5)
    assert (
        table["prediction"].tolist() == expected.argmax(1).tolist()
        and table["label"].tolist() == digits.labels.tolist()
    )
    ordered, _ = expected.sort(1, descending=True)
    assert np.allclose(table["confidence"], ordered[:, 0], atol=1e-5)
    assert np.allclose(table["margin"], ordered[:, 0] - ordered[:, 1], atol=1e-5)
    assert np.allclose(table["loss"], -expected[torch.arange(50), digits.labels].log(), atol=1e-4)
    without = run.predict(ml.Digits(digits.images, None, "nobody's")).table
    assert not {"label", "loss"} & set(without.columns)


def test_every_way_to_name_a_picture_gives_the_same(predictor, tmp_path):
    image = written("4", 90)
    image.save(tmp_path / "4.png")
    ways = [tmp_path / "4.png", str(tmp_path / "4.png"), image, np.asarray(image), (tmp_path / "4.png").read_bytes()]
    said = [predictor.predict(way) for way in ways]
    assert {(p.digit, round(p.confidence, 6)) for p in said} == {(4, round(said[0].confidence, 6))}
    assert said[0].probabilities.sum() == pytest.approx(1) and said[0].image.shape == (1, 28, 28)
    assert str(said[0]).startswith("4 (")


def test_ready_digits_are_read_as_the_network_reads_them(predictor, test_digits):
    digits = test_digits[:100]
    run = ml.load(ml.home() / "models" / "reader.safetensors")
    with torch.inference_mode():
        expected = run.model(ml.normalise(digits.images))
    assert torch.allclose(predictor.logits(digits.images), expected, atol=1e-3)


def test_a_folder_with_a_broken_file(predictor, folder):
    table = predictor.predict_all(folder).table
    assert len(table) == 20 and table["file"].is_monotonic_increasing
    broken = table[table["error"] != ""]
    assert broken["file"].str.endswith("broken.png").all() and len(broken) == 1
    assert broken["prediction"].isna().all() and broken[[f"p{digit}" for digit in range(10)]].isna().all(axis=None)
    good = table[table["error"] == ""]
    single = [predictor.predict(file) for file in good["file"]]
    assert good["prediction"].tolist() == [p.digit for p in single]
    assert np.allclose(good["confidence"].astype(float), [p.confidence for p in single], atol=1e-5)
    summary = predictor.predict_all(folder).summary()
    assert summary.loc["all", "unread"] == 1 and summary.loc["all", "count"] == 20


def test_patterns_lists_and_nothing(predictor, folder, monkeypatch):
    assert len(predictor.predict_all(str(folder / "0*.png"))) == 10
    monkeypatch.chdir(folder)
    assert len(predictor.predict_all("1?.png")) == 9
    assert len(predictor.predict_all(iter([folder / "01.png", folder, "1?.png"]))) == 1 + 20 + 9
    assert len(predictor.predict_all("01.png")) == 1
    (folder / "empty").mkdir()
    for nothing in ([], str(folder / "*.webp"), folder / "empty"):
        with pytest.raises(ml.PictureError, match=r"no picture in|names no picture"):
            predictor.predict_all(nothing)
    for no_names in (b"bytes", np.zeros((28, 28)), Image.new("L", (28, 28)), [written("4")]):
        with pytest.raises(ml.PictureError, match="one picture at a time to predict"):
            predictor.predict_all(no_names)
    table = predictor.predict_all(["01.png", "missing.png"]).table
    assert table["error"].tolist() == ["", "There is no file missing.png."]


def test_one_picture_is_one_picture(predictor, folder):
    """What `predict` returns does not depend on what lies on the disk."""
    for many in (folder, str(folder), str(folder / "0*.png")):
        for read in (predictor.predict, predictor.read):
            with pytest.raises(ml.PictureError, match=r"is not one picture; predict_all\('"):
                read(many)
    with pytest.raises(ml.PictureError, match="There is no file"):
        predictor.predict(folder / "missing.png")
    shutil.copy(folder / "00.png", folder / "what[is]this.png")
    assert predictor.predict(folder / "what[is]this.png").digit == 1


def test_a_prepared_picture_is_judged_as_the_picture_is(predictor):
    for file in (SAMPLES / "photo_ruled_9_2.jpg", SAMPLES / "rows" / "row_407.jpg"):
        ours, theirs = predictor.judge(ml.prepare(file)), predictor.predict(file)
        assert str(ours) == str(theirs) and torch.equal(ours.probabilities, theirs.probabilities)


def test_a_predictor_in_a_line(predictor):
    said = repr(predictor)
    assert "\n" not in said and "CNN" in said and f"{predictor.temperature:.3g}" in said


def test_ctrl_c_keeps_what_was_read(predictor, folder, monkeypatch):
    monkeypatch.setattr("mnistlab.reading.predictor.BATCH", 8)
    whole = predictor.predict_all(folder).table
    judged, calls = ml.Predictor._table, []

    def stopped(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judged(*given)

    monkeypatch.setattr(ml.Predictor, "_table", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"^Stopped after 16 of 20 pictures\.$") as caught:
        predictor.predict_all(folder)
    pd.testing.assert_frame_equal(caught.value.so_far.table, whole[:16], check_dtype=False)


def test_blank_paper_and_several_digits_are_said(predictor):
    blank = predictor.predict(Image.new("L", (80, 80), 255))
    assert blank.digit is None and blank.confidence == 0 and "no ink" in blank.warning and "no digit" in str(blank)
    row = Image.new("L", (500, 200), 255)
    for place, digit in enumerate("415"):
        row.paste(written(digit, 160), (10 + 160 * place, 20))
    assert "3 things like digits" in predictor.predict(row).warning
    assert [p.digit for p in predictor.read(row)] == [4, 1, 5]
    assert predictor.read(Image.new("L", (80, 80), 255)) == []


def test_rows_of_our_own_are_read(predictor):
    rows = pd.read_csv(SAMPLES / "rows" / "labels.csv", dtype=str)
    said = {file: "".join(str(p.digit) for p in predictor.read(SAMPLES / "rows" / file)) for file in rows["file"]}
    right = sum(said[row["file"]] == row["label"] for row in rows.to_dict("records"))
    assert right >= len(rows) - 1, said


@pytest.mark.slow
def test_most_of_what_is_no_digit_carries_a_warning(predictor):
    files = [file for file in sorted((SAMPLES / "others").iterdir()) if file.suffix != ".csv"]
    warned = [file.name for file in files if predictor.predict(file).warning]
    assert len(warned) >= 0.7 * len(files), sorted({file.name for file in files} - set(warned))


def test_familiarity_is_mahalanobis_distance():
    from scipy.spatial.distance import mahalanobis

    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(40)
    features = torch.randn(400, 5, generator=generator) @ torch.randn(5, 5, generator=generator) + labels[:, None]
    familiar = Familiarity.of(features, labels, limit=3.5)
    within = np.cov((features - familiar.means[labels]).T) + 1e-3 * np.eye(5)
    probe = torch.randn(6, 5, generator=generator)
    expected = [min(mahalanobis(row, mean, np.linalg.inv(within)) for mean in familiar.means) ** 2 for row in probe]
    assert np.allclose(familiar.distance(probe), expected, rtol=1e-3)
    again = Familiarity.from_tensors(familiar.tensors())
    assert torch.equal(again.distance(probe), familiar.distance(probe)) and again.limit == 3.5
    for name in ("means", "precision", "limit"):
        for wrong in (torch.zeros(3), familiar.tensors()[name] * float("nan")):
            with pytest.raises(ValueError, match=r"means|not a number"):
                Familiarity.from_tensors(familiar.tensors() | {name: wrong})


def test_csv_and_json_hold_the_table(predictor, folder, tmp_path):
    predictions = predictor.predict_all(folder)
    there = pd.read_csv(predictions.to_csv(tmp_path / "a.csv"), keep_default_na=True)
    assert there["prediction"].dropna().astype(int).tolist() == predictions.table["prediction"].dropna().tolist()
    assert np.allclose(there["p4"].dropna(), predictions.table["p4"].dropna().astype(float))
    rows = json.loads(predictions.to_json(tmp_path / "a.json", ["file", "prediction", "error"]).read_text())
    assert len(rows) == 20 and set(rows[0]) == {"file", "prediction", "error"}
    assert [row["file"] for row in rows if row["error"]] == [str(folder / "broken.png")]


def test_json_says_what_the_csv_says(predictor, folder, tmp_path):
    predictions = predictor.predict_all(folder)
    text = predictions.to_json(tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("]\n") and "\\/" not in text and "NaN" not in text
    with predictions.to_csv(tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        for ours, theirs in zip(json.loads(text, parse_float=str, parse_int=str), csv.DictReader(file), strict=True):
            assert {name: value or "" for name, value in ours.items()} == theirs


def test_kaggles_file_has_the_rows_that_kaggle_wants(tmp_path):
    logits = torch.randn(28_000, 10, generator=torch.Generator().manual_seed(0))
    predictions = ml.Predictions.of(logits)
    there = pd.read_csv(predictions.to_kaggle(tmp_path / "submission.csv"))
    assert list(there.columns) == ["ImageId", "Label"] and there["ImageId"].tolist() == list(range(1, 28_001))
    assert there["Label"].tolist() == logits.argmax(1).tolist()
    with pytest.raises(ValueError, match="28,000 rows"):
        ml.Predictions.of(logits[:5]).to_kaggle(tmp_path / "short.csv")
    gaps = ml.Predictions.of(logits[:5])
    gaps.table.loc[2, "prediction"] = pd.NA
    with pytest.raises(ValueError, match="1 rows have no prediction"):
        gaps.to_kaggle(tmp_path / "gaps.csv", rows=5)
    assert not (tmp_path / "short.csv").exists() and not (tmp_path / "gaps.csv").exists()


def test_the_command_line(folder, capsys):
    shutil.copy(folder / "00.png", folder / "copy.png")
    command = ["predict", str(folder), "--csv", str(folder / "out.csv"), "--json", str(folder / "out.json")]
    assert main(command) == 1  # one file is broken
    said = capsys.readouterr()
    assert said.out.count(".png: ") == 20 and "broken.png" not in said.out and "% sure)" in said.out
    error, summary, answers = said.err.splitlines()
    assert error.startswith(f"error: {folder / 'broken.png'} is no picture")
    assert re.fullmatch(r"21 pictures: 20 read(, \d+ of them with a warning)?, 1 could not be read", summary)
    assert re.fullmatch(r"read as: (\d+ × \d(, )?)+; mean confidence \d+\.\d%", answers)
    assert "p0" not in pd.read_csv(folder / "out.csv").columns
    assert main([*command, "--show-probabilities"]) == 1
    assert {"p0", "p9"} <= set(pd.read_csv(folder / "out.csv").columns) and re.search(
        r"    \d: \d", capsys.readouterr().out
    )
    assert len(json.loads((folder / "out.json").read_text())) == 21
    (folder / "broken.png").unlink()
    assert main(["predict", str(folder)]) == 0 and "error" not in capsys.readouterr().err
    assert main(["predict", str(folder / "00.png")]) == 0 and capsys.readouterr().err == ""
    assert main(["predict", str(folder / "*.webp")]) == 1 and "no picture" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--csv", "--json"])
@pytest.mark.parametrize("stdout", ["-", "/dev/stdout"])
def test_a_table_on_stdout_stands_there_alone(folder, tmp_path, capfd, option, stdout):
    (folder / "broken.png").unlink()
    assert main(["predict", str(folder), option, str(tmp_path / "table")]) == 0
    capfd.readouterr()
    assert main(["predict", str(folder), option, stdout]) == 0
    said = capfd.readouterr()
    assert said.out.encode() == (tmp_path / "table").read_bytes()
    assert said.err.count(".png: ") == 19 and not Path("-").exists()


def test_where_no_table_can_go_is_said_before_the_work(folder, capsys, monkeypatch):
    monkeypatch.setattr(ml.Predictor, "load", None)
    for option in ("--csv", "--json"):
        assert main(["predict", str(folder / "00.png"), option, str(folder)]) == 1
        assert capsys.readouterr().err == f"error: {folder} is a folder; name a file in it.\n"
    assert main(["predict", str(folder), "--csv", "-", "--json", "/dev/stdout"]) == 2
    assert "Only one of" in capsys.readouterr().err


def test_the_command_line_keeps_what_was_read_before_ctrl_c(folder, tmp_path, capsys, monkeypatch):
    table = ml.Predictor.load().predict_all(folder).table[:16]

    def stopped(*_):
        raise Stopped(ml.Predictions(table), 20)

    monkeypatch.setattr(ml.Predictor, "predict_all", stopped)
    assert main(["predict", str(folder), "--csv", str(tmp_path / "read.csv")]) == 130
    said = capsys.readouterr()
    assert said.out.count(".png: ") == 16 and said.err.endswith("Stopped after 16 of 20 pictures.\n")
    assert len(pd.read_csv(tmp_path / "read.csv")) == 16


def test_a_picture_through_stdin_and_a_folders_other_files(folder, capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO((folder / "00.png").read_bytes())

    monkeypatch.setattr("sys.stdin", Stdin)
    assert main(["predict", "-"]) == 0
    assert re.match(r"stdin: \d \(", capsys.readouterr().out)
    (folder / "broken.png").unlink()
    (folder / "notes.txt").write_text("mine")
    (folder / "scan").mkdir()
    with pytest.warns(UserWarning, match=r"left out notes\.txt, scan\.") as caught:
        assert main(["predict", str(folder)]) == 0
    assert len(caught) == 1


def test_only_what_is_likely_is_listed(folder, capsys):
    assert main(["predict", str(folder / "00.png"), "--show-probabilities"]) == 0
    shares = capsys.readouterr().out.splitlines()[1].split("  ")
    values = [float(share.split(": ")[1].rstrip("%")) for share in shares if share.strip()]
    assert values == sorted(values, reverse=True) and min(values) >= 0.1 and len(values) < 10


def test_an_iphones_picture_is_read(predictor, tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    photo = ml.home() / "data" / "samples" / "photo_ruled_9_2.jpg"
    pillow_heif.from_pillow(Image.open(photo)).save(tmp_path / "IMG_1.HEIC", quality=90)
    for picture in (tmp_path / "IMG_1.HEIC", (tmp_path / "IMG_1.HEIC").read_bytes()):
        assert predictor.predict(picture).digit == predictor.predict(photo).digit
    assert len(predictor.predict_all(tmp_path)) == 1
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ml.PictureError, match=r"is in HEIC, which needs one more package: pip install pillow-heif"):
        predictor.predict(tmp_path / "IMG_1.HEIC")


@pytest.mark.parametrize("page", ["cp932", "cp437", "cp850", "ascii"])
def test_any_console_takes_what_is_said(page):
    """Japanese and old Windows consoles know no · and no …"""
    program = "import typer; from mnistlab.__main__ import main; main(['--version']); typer.echo('·…×→')"
    environment = os.environ | {"PYTHONIOENCODING": page, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
