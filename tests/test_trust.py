"""The quick part of `make trust`: a little of everything that it tries thousands of times, and that it would notice."""

import sys
from pathlib import Path

import hostile
import pytest

import mnistlab as ml

if sys.platform == "win32":
    pytest.skip("needs os.fork and SIGALRM", allow_module_level=True)

import trust


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("MNISTLAB_DATA", "offline")


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (trust.read_pictures, 150),
        (trust.read_datasets, 150),
        (trust.read_checkpoints, 200),
        (trust.kill_saving, 5),
        (trust.kill_tables, 5),
        (trust.kill_notebooks, 5),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_nothing_gives_way(part, count):
    row = part(count)
    assert row["faults"] == [] and row["tried"] == count
    if "refused" in row:
        assert row["refused"] > count / 4, "most of what was spoiled should be refused"


def test_pickles_run_nothing():
    row = trust.read_pickles()
    assert row["faults"] == [] and row["refused"] == 3


def test_the_canary_would_sing(tmp_path):
    """Opened as most programs open them, those checkpoints do run code."""
    import pickle

    path, *_ = hostile.pickles(tmp_path, tmp_path / "canary")
    pickle.loads(path.read_bytes())
    assert (tmp_path / "canary").read_text() == "it ran"


def test_what_must_not_happen_is_noticed(tmp_path):
    def hang() -> None:
        while True:
            pass

    def fail() -> None:
        raise KeyError("x")

    def refuse() -> None:
        raise ml.DataError("no")

    slow, trust.SLOW = trust.SLOW, 0.2
    try:
        row = trust.judged([("a", hang), ("b", fail), ("c", refuse), ("d", lambda: 7)], ml.DataError)
    finally:
        trust.SLOW = slow
    assert (row["tried"], row["answered"], row["refused"]) == (4, 1, 1)
    assert [fault.split(":")[1].strip() for fault in row["faults"]] == ["TooSlow", "KeyError"]

    def careless(turn: int) -> None:
        path.write_text(str(turn) * 2_000_000)

    path: Path = tmp_path / "half.txt"
    found = trust.interrupted(careless, path.read_text, 20, 0.02)
    assert found["faults"], "half a file should have been met"
