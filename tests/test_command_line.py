"""The command line as its user meets it: what it writes, what it says, and what it says when something is wrong."""

import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_score
from sklearn.model_selection import train_test_split

import mnistlab as ml
from mnistlab import __main__ as command_line
from mnistlab.__main__ import main
from mnistlab.networks import models
from mnistlab.training.schedules import SCHEDULES

pytestmark = pytest.mark.slow

WORDS = ["--epochs", "2", "--learning-rate", "0.004", "--batch-size", "32", "--seed", "5", "--device", "cpu"]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("MNISTLAB_DATA", "offline")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "mine"
    environment = os.environ | {"MNISTLAB_DATA": "offline"}
    command = [sys.executable, "-m", "mnistlab", "train", "--model", "lenet", "--out", str(out), "--dropout", *WORDS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "wrong" in done.stdout and done.stdout.count(str(out)) == 6
    return out


@pytest.mark.parametrize(
    "command", ["", "data", "info", "train", "evaluate", "predict", "animate", "export", "app"], ids=lambda c: c or "-"
)
def test_help(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"Usage: mnistlab {command}".strip() in said and max(map(len, said.splitlines())) <= 80


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mnistlab {ml.__version__}\n"


def test_the_choices_and_defaults_are_the_librarys():
    """They stand in the command line as plain words, so that help needs no PyTorch."""
    assert [choice.name for choice in command_line.Model] == [network.__name__ for network in models.RELATIVES]
    assert [choice.value for choice in command_line.Schedule] == list(SCHEDULES)
    for keep in command_line.Keep:
        ml.TrainConfig(keep=keep.value)
    for precision in command_line.Precision:
        ml.TrainConfig(precision=precision.value)
    with pytest.raises(ValueError, match="precision"):
        ml.TrainConfig(precision="float16")
    defaults = {name: given.default for name, given in inspect.signature(command_line.train).parameters.items()}
    named = ("epochs", "batch_size", "learning_rate", "schedule", "patience", "keep", "dropout", "device", "precision")
    for name in (*named, "seed"):
        assert defaults[name] == getattr(ml.TrainConfig(), name), name


# It runs `mnistlab …` as the shell does, and presses Ctrl-C the moment that this module is imported.
INTERRUPTED = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    wanted = sys.argv.pop(1)
    def find_spec(self, name, *_):
        if name == self.wanted:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
runpy.run_module("mnistlab", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["typer", "mnistlab.paths", "torch", "pandas", "mnistlab.runs"])
def test_ctrl_c_while_it_starts_prints_no_traceback(module, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module, "evaluate"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


def test_the_script_and_the_module_are_one(tmp_path):
    script = Path(sys.executable).with_name("mnistlab")
    both = [
        subprocess.run([*command, "evaluate", str(tmp_path / "none")], capture_output=True, text=True)
        for command in ([script], [sys.executable, "-m", "mnistlab"])
    ]
    assert both[0].returncode == both[1].returncode == 1
    assert both[0].stderr == both[1].stderr and both[0].stderr.startswith("error: There is no checkpoint")
    assert both[0].stdout == ""


def test_data_and_info(capsys):
    assert main(["data"]) == 0
    assert "1,437 digits · scikit-learn" in capsys.readouterr().out
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for part in (ml.__version__, torch.__version__, str(ml.home()), "1,437 digits", "models/cnn"):
        assert part in said


def test_info_fetches_nothing_and_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("MNISTLAB_DATA")
    monkeypatch.setenv("MNISTLAB_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert main(["info"]) == 1
    said = capsys.readouterr().out
    assert "no MNIST yet: run 'mnistlab data'" in said and said.count("missing") == 3
    assert not any((tmp_path / "data").iterdir())


def test_train_writes_everything(trained):
    run = ml.load(trained)
    assert isinstance(run.model, models.LeNet)
    assert run.config == ml.TrainConfig(
        epochs=2, learning_rate=0.004, batch_size=32, seed=5, dropout=True, device="cpu", crop=0.0
    )
    names = {path.name for path in trained.iterdir()} - {".lock"}
    assert names == {
        "checkpoint.safetensors",
        "history.csv",
        "metrics.json",
        "curves.png",
        "confusion.png",
        "samples.png",
    }
    history = pd.read_csv(trained / "history.csv")
    assert history["step"].iloc[-1] == 2 * (1221 // 32) and history["val_loss"].notna().sum() == 2
    test = ml.load_digits("test")
    with torch.no_grad():
        found = run.model(ml.normalise(test.images)).argmax(1)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test"]["errors"] == int((found != test.labels).sum())
    precisions = precision_score(test.labels, found, average=None)
    assert [metrics["test_per_digit"][str(d)]["precision"] for d in range(10)] == pytest.approx(precisions.tolist())
    for name in ("curves", "confusion", "samples"):
        picture = np.asarray(Image.open(trained / f"{name}.png").convert("L"))
        assert min(picture.shape) > 200 and picture.std() > 5


def test_only_the_checkpoint_and_its_card_say_more_after_the_judging(trained):
    card = ml.load(trained).metrics
    assert set(card) == {"val", "test"} and card["test"]["digits"].startswith("360 digits · scikit-learn")


@pytest.fixture
def kaggle(tmp_path, monkeypatch) -> ml.Digits:
    """Kaggle's two files as the only data: 300 labelled digits, and 40 without labels."""
    folder, digits = tmp_path / "kaggle", ml.load_digits("train", "offline")[:340]
    folder.mkdir()
    table = pd.DataFrame(digits.images.flatten(1).numpy(), columns=[f"pixel{number}" for number in range(784)])
    table[300:].to_csv(folder / "test.csv", index=False)
    table.insert(0, "label", digits.labels.numpy())
    table[:300].to_csv(folder / "train.csv", index=False)
    monkeypatch.setenv("MNISTLAB_DATA", str(folder))
    return digits[:300]


def test_kaggles_two_files_are_enough_to_train(kaggle, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["train", "--model", "mlp", "--epochs", "3", "--batch-size", "32", "--device", "cpu", "--out", str(out)]
    assert main(words) == 0
    assert re.search(r"^\d+ wrong, .* on 45 digits held back from train\.csv$", capsys.readouterr().out, re.MULTILINE)
    run = ml.load(out)
    assert run.metrics["test"]["count"] == 45 and run.data["count"] == 216
    assert run.metrics["test"]["digits"] == "45 digits · Kaggle Digit Recognizer, held back from train.csv"
    # The same digits, parted by scikit-learn: none that it was judged on was learned from.
    rest, aside = train_test_split(range(300), test_size=0.15, random_state=0, stratify=kaggle.labels)
    learned, _ = train_test_split(sorted(rest), test_size=0.15, random_state=0, stratify=kaggle.labels[sorted(rest)])
    assert run.data["md5"] == kaggle[torch.tensor(sorted(learned))].md5
    aside = kaggle[torch.tensor(sorted(aside))]
    with torch.no_grad():
        found = run.model(ml.normalise(aside.images)).argmax(1)
    assert run.metrics["test"]["errors"] == int((found != aside.labels).sum())
    (out / "samples.png").unlink()
    assert main(words) == 1 and main([*words, "--resume"]) == 0
    assert ml.load(out).metrics == run.metrics


def test_unlabelled_digits_are_filmed_by_number_and_not_scored(kaggle, tmp_path, capsys):
    film = tmp_path / "four.webp"
    assert main(["animate", "--index", "4", "--out", str(film)]) == 0
    assert re.search(r"test digit 4, read as \d$", capsys.readouterr().out.strip()) and film.exists()
    assert main(["animate", "--digit", "3", "--out", str(film)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: The test digits of Kaggle") and "--index" in said.err
    assert main(["evaluate"]) == 0
    said = capsys.readouterr().out
    assert "nobody gave labels" in said and "mean confidence" in said and "wrong" not in said
    assert main(["evaluate", "--split", "train"]) == 0


def test_nothing_is_overwritten(trained, capsys):
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    assert main(["train", "--model", "lenet", "--out", str(trained), *WORDS]) == 1
    assert "name another --out" in capsys.readouterr().err
    assert main(["train", "--model", "lenet", "--out", str(trained), "--resume", *WORDS]) == 0
    assert "holds a finished run" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_one_folder_is_for_one_process(tmp_path, capsys):
    import filelock

    with filelock.FileLock(tmp_path / ".lock"):
        assert main(["train", "--out", str(tmp_path)]) == 1
    assert "Another process is training into" in capsys.readouterr().err


def test_a_run_killed_while_it_wrote_its_files_writes_them_again(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    words = ["train", "--model", "mlp", "--epochs", "0.2", "--device", "cpu", "--out", str(out)]

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_csv", killed)
        with pytest.raises(Killed):
            main(words)
    checkpoint = (out / "checkpoint.safetensors").read_bytes()
    assert not (out / "history.csv").exists()
    assert main(words) == 1
    assert "go on with --resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    whole = {path.name for path in out.iterdir()} - {".lock"}
    assert len(whole) == 6 and (out / "checkpoint.safetensors").read_bytes() == checkpoint
    weights = ml.load(out).card()["weights_md5"]
    (out / "samples.png").unlink()  # as where the disk had no room for it, nor for the state
    assert main(words) == 1 and main([*words, "--resume"]) == 0
    assert {path.name for path in out.iterdir()} - {".lock"} == whole
    again = ml.load(out).card()  # trained anew: the same weights, in other seconds
    assert again["weights_md5"] == weights


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way there")
def test_a_stopped_run_goes_on(tmp_path, capsys):
    out, words = tmp_path / "run", ["--model", "mlp", "--epochs", "600", "--batch-size", "32", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mnistlab", "train", "--out", str(out), *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 60
    while not (out / "unfinished.state").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said
    again = f"python -m mnistlab {shlex.join(['train', '--out', str(out), *words, '--resume'])}"
    assert said.splitlines()[-1] == f"Stopped. {out / 'unfinished.state'} keeps the run; go on with: {again}"
    state = torch.load(out / "unfinished.state", weights_only=True)
    assert main(["train", "--out", str(out), *words]) == 1
    assert "go on with --resume" in capsys.readouterr().err
    other = [word.replace("600", "601") for word in words]
    assert main(["train", "--out", str(out), "--resume", *other]) == 1
    assert "belongs to another run: it differs in epochs" in capsys.readouterr().err
    assert torch.load(out / "unfinished.state", weights_only=True)["step"] == state["step"]


@pytest.mark.parametrize("place", ["mnistlab.load_digits", "mnistlab.fit"])
def test_no_file_is_promised_that_is_not_there(place, tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, stopped)
    words = ["train", "--model", "mlp", "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(words) == 130
    said = capsys.readouterr().err
    assert said == "Stopped before anything was kept; the same command starts anew.\n"
    monkeypatch.undo()
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    assert main([*words, "--epochs", "0.2"]) == 0


def test_evaluate_passes_each_digit_once(trained, monkeypatch, capsys):
    seen, forward = [], models.LeNet.forward
    monkeypatch.setattr(
        models.LeNet, "forward", lambda net, images: (seen.append(len(images)), forward(net, images))[1]
    )
    assert main(["evaluate", str(trained)]) == 0 and sum(seen) == 360


def test_evaluate(trained, capsys):
    assert main(["evaluate", str(trained), "--split", "test"]) == 0
    first, *table = capsys.readouterr().out.splitlines()
    test = ml.load_digits("test")
    with torch.no_grad():
        found = ml.load(trained).model(ml.normalise(test.images)).argmax(1)
    assert int(first.split()[0]) == int((found != test.labels).sum())
    counts = confusion_matrix(test.labels, found)
    rows = [line.split() for line in table[2:]]
    assert [int(row[1]) for row in rows] == counts.sum(1).tolist()
    assert [float(row[4]) for row in rows] == pytest.approx((counts.diagonal() / counts.sum(1)).tolist(), abs=5e-5)


def test_predict_says_by_its_exit_code_that_nothing_was_read(tmp_path, capsys):
    (tmp_path / "no.png").write_bytes(b"nothing")
    assert main(["predict", str(tmp_path), "--csv", str(tmp_path / "read.csv")]) == 1
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'read.csv'}\n" and said.err.startswith(
        f"error: {tmp_path / 'no.png'} is no picture"
    )
    assert pd.read_csv(tmp_path / "read.csv")["error"].notna().all()


def test_predict_with_a_run_of_ones_own(trained, capsys):
    assert main(["predict", "data/samples/photo_ruled_9_2.jpg", "--checkpoint", str(trained)]) == 0
    assert re.search(r"photo_ruled_9_2.jpg: \d \(\d", capsys.readouterr().out)


def test_animate(tmp_path, capsys):
    film = tmp_path / "three.gif"
    assert main(["animate", "--digit", "3", "--out", str(film)]) == 0
    assert re.search(r"a 3, read as \d", capsys.readouterr().out) and film.read_bytes()[:4] == b"GIF8"


def test_export(trained, tmp_path, capsys):
    assert main(["export", str(tmp_path / "page.html")]) == 0
    page = tmp_path / "page.html"
    assert f"{page}: {page.stat().st_size:,} bytes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["evaluate", "no/such.safetensors"], 1, "There is no checkpoint"),
        (["animate", "--index", "360"], 1, "There is no test digit 360; there are 0 to 359"),
        (["animate", "--out", "film.avi"], 1, ".gif or .webp"),
        (["animate", "--out", "FOLDER"], 1, "is a folder; name a file in it"),
        (["export", "FOLDER"], 1, "is a folder; name a file in it"),
        (["predict", "a.png", "--csv", "FOLDER"], 1, "is a folder; name a file in it"),
        (["animate", "--checkpoint", "LENET"], 1, "trace a CNN"),
        (["export", "net.keras"], 1, ".onnx"),
        (["train", "--out", "README.md"], 1, "README.md cannot be written to (File exists); name another --out"),
        (["train", "--epochs", "0"], 1, "epochs must be a number above 0"),
        (["train", "--device", "cuda"], 1, "There is no device 'cuda'"),
        (["train", "--model", "resnet"], 2, "resnet"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        (["predict"], 2, "pictures"),
        (["dance"], 2, "dance"),
        (["app", "--port", "0"], 2, "port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_users_mistakes_are_answered_in_a_sentence(words, code, said, trained, capsys, monkeypatch, tmp_path):
    if words[-1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr("mnistlab.__main__.ml.home", lambda: tmp_path) if words[0] == "train" else None  # for --out
    places = {"LENET": str(trained), "FOLDER": str(tmp_path)}
    assert main([places.get(word, word) for word in words]) == code
    heard = capsys.readouterr()
    assert said.lower() in heard.err.lower() and "Traceback" not in heard.err and heard.out == ""
