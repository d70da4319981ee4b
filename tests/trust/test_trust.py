"""The quick part of `make trust`: a little of everything that it tries thousands of times, and that it would notice."""

import html
import json
import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import mnistlab as ml
from tests.trust import hostile

if sys.platform == "win32":
    pytest.skip("needs os.fork and SIGALRM", allow_module_level=True)

from tests.trust import accidents, injected
from tests.trust import suite as trust

# What befalls users is tried here, without the check of annotations.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked")]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("part", "count"),
    [
        (trust.read_pictures, 150),
        (trust.read_arrays, 300),
        (trust.read_datasets, 150),
        (trust.read_checkpoints, 200),
        (partial(accidents.kill_writing, "checkpoint"), 5),
        (partial(accidents.kill_writing, "CSV"), 5),
        (partial(accidents.kill_writing, "notebook"), 5),
    ],
    ids=["pictures", "arrays", "data", "checkpoints", "saving", "CSV", "notebook"],
)
def test_nothing_gives_way(part, count):
    row = part(count)
    assert row["faults"] == [] and row["tried"] == count
    if "refused" in row:
        assert row["refused"] > count / 4, "most of what was spoiled should be refused"


def test_the_page_quotes_the_last_run_of_all_parts():
    rows = json.loads(trust.FILE.read_text())["rows"]
    assert sum(row["faults"] == [] for row in rows.values()) == len(rows) >= 20
    assert sum(row["tried"] for what, row in rows.items() if what.startswith("killed")) >= 200
    assert trust.table(rows) in trust.PAGE.read_text(encoding="utf-8")


def test_a_new_run_replaces_the_table_and_nothing_else(monkeypatch, tmp_path):
    rows, before = json.loads(trust.FILE.read_text())["rows"], trust.PAGE.read_text(encoding="utf-8")
    new = {"a new part": {"tried": 3, "refused": 3, "faults": []}}
    monkeypatch.setattr(trust, "PAGE", tmp_path / "trust.md")
    trust.PAGE.write_text(before, encoding="utf-8")
    trust.quote(new)
    around = before.split(trust.table(rows))
    assert trust.PAGE.read_text(encoding="utf-8").split(trust.table(new)) == around and len(around) == 2


def test_a_download_is_killed_and_goes_on():
    assert trust.alone(accidents.kill_downloading, 3)["faults"] == []


@pytest.mark.parametrize("part", ["full", "closed"])
def test_a_disk_without_room_and_a_folder_without_a_way_in(part):
    row = accidents.on_a_small_disk(part, 2)
    if row is None:
        pytest.skip("this system lets us make no disk")
    assert row["faults"] == [] and row["refused"] >= 4


def test_small_files_that_grow_are_refused():
    row = trust.read_data_bombs()
    assert row["faults"] == [] and row["refused"] == row["tried"] == 5


def test_text_stays_text(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("MNISTLAB_HOME", str(tmp_path))
    pages = injected.pages(tmp_path)
    shown = [html.unescape(page.read_text(encoding="utf-8")) for page in pages]
    assert len(pages) == 4 and "data-evil" in shown[1] and injected.EVIL in shown[3]
    for page in pages:
        assert injected.came_alive(browser, page) == []


@pytest.mark.parametrize(
    "careless",
    [
        "<p>{}</p>",
        '<img alt="{}">',
        "<title>{}</title>",
        "<div id=a></div><script>a.attachShadow({{mode: 'open'}}).innerHTML = `{}`</script>",
    ],
)
def test_text_that_is_not_escaped_would_be_noticed(browser, tmp_path, careless):
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html>" + careless.format(injected.EVIL.replace("${alert(2)}", "")))
    assert injected.came_alive(browser, page)


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

    row = trust.judged([("a", hang), ("b", fail), ("c", refuse), ("d", lambda: 7)], ml.DataError, slow=0.2)
    assert (row["tried"], row["answered"], row["refused"]) == (4, 1, 1)
    assert [fault.split(":")[1].strip() for fault in row["faults"]] == ["TooSlow", "KeyError"]

    def careless(turn: int) -> None:
        path.write_text(str(turn) * 2_000_000)

    path: Path = tmp_path / "half.txt"
    found = accidents.interrupted(careless, path.read_text, 20, 0.02)
    assert found["faults"], "half a file should have been met"

    def broken(turn: int) -> None:
        if os.getpid() != here:
            raise OSError

    here = os.getpid()
    assert len(accidents.interrupted(broken, lambda: 7, 3, 0.3)["faults"]) == 3


@pytest.mark.parametrize(("wrong", "faults"), [(0.0, 0), (0.01, 1), (float("nan"), 2)])
def test_a_gpu_that_errs_would_be_noticed(monkeypatch, wrong, faults):
    """In place of a GPU, the CPU with a bias that is off."""

    def moved(model: torch.nn.Module) -> None:
        with torch.no_grad():
            model.dense2.bias[0] += wrong

    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    monkeypatch.setattr(torch.nn.Module, "cuda", moved)
    row = trust.compare_devices()
    assert len(row["faults"]) == faults
    assert ("the same answers" in trust.table({"": row})) == (not faults)
