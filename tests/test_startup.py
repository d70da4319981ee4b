"""What must not be imported where an answer is wanted at once; benchmarks/startup.py measures what that saves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import mnistlab as ml
from benchmarks.startup import CONTESTANTS

pytestmark = pytest.mark.slow

TORCH = {"torch", "numpy"}
HEAVY = {"torchvision", "sklearn", "scipy", "matplotlib", "seaborn", "IPython", "torch._dynamo", "sympy"}
READING = {"pandas", "cv2", "PIL"}
RESULT = ml.home() / "benchmarks" / "results" / "startup.json"
SAMPLE = ml.home() / "data" / "samples" / "photo_ruled_9_2.jpg"


def imported(code: str) -> set[str]:
    """The modules that a fresh Python holds after `code`."""
    code = f"{code}\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["--version"], ["dance"], ["train", "--model", "resnet"], ["train", "--epoch", "2"]),
        *([name, "--help"] for name in ("data", "info", "train", "evaluate", "predict", "animate", "export", "app")),
        *(["predict", "a.png", "--csv", str(Path(__file__).parent)], ["export", str(Path(__file__).parent)]),
    ],
    ids=" ".join,
)
def test_the_command_line_answers_without_torch(words):
    there = imported(f"from mnistlab.__main__ import main; main({words!r})")
    assert "typer" in there and not there & (TORCH | HEAVY | READING | {"filelock", "tqdm"})


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import mnistlab", TORCH | HEAVY | READING),
        ("import mnistlab as ml; ml.CNN(); ml.TrainConfig(); ml.load_digits", HEAVY | READING | {"filelock"}),
        ("import mnistlab as ml; ml.load_digits('train', 'offline')[:3]", {"torchvision", "matplotlib", "filelock"}),
        ("import mnistlab as ml; ml.films.forward, ml.trace", HEAVY | {"pandas", "cv2"}),
        (f"import mnistlab as ml; ml.Predictor.load().predict({str(SAMPLE)!r})", HEAVY),
        ("import mnistlab.shipping.export, mnistlab.shipping.report, mnistlab.runs", HEAVY),
    ],
    ids=["the package", "a new network", "digits offline", "films", "the reader", "export"],
)
def test_the_library_imports_what_it_uses(code, without):
    assert not imported(code) & without


@pytest.mark.skipif(not RESULT.exists(), reason="not measured yet: python -m benchmarks.startup")
def test_the_measured_ratios_are_within_their_bounds():
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    assert set(found["ratios"]) == set(CONTESTANTS)
    for name, (_, most) in CONTESTANTS.items():
        assert found["ratios"][name]["median"] <= most == found["ratios"][name]["most"], name
