"""Digits for the tests: real MNIST where it is on disk, else scikit-learn's; never a download."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jaxtyping
import pytest

from tests import shapes
from tools.browser import NONE_HERE, chromium, launched

# Before they are imported: the shapes and types in the annotations of these modules are checked while tests run.
SHAPED = [
    f"mnistlab.{name}"
    for name in (
        "analysis.predictions",
        "data.augmentation",
        "data.digits",
        "data.form",
        "inspection.attribution",
        "inspection.trace",
        "networks.hooks",
        "networks.inference",
        "reading.familiarity",
    )
]
with jaxtyping.install_import_hook(SHAPED, f"{shapes.__name__}.checked"):
    import pandas as pd

    import mnistlab as ml
    from mnistlab.data.sources import MD5

    for name in SHAPED:
        importlib.import_module(name).pd = pd  # annotations name it, and only type checkers import it
if TYPE_CHECKING:
    from playwright.sync_api import Browser

FILES = [ml.home() / "data" / "MNIST" / "raw" / name for name in MD5]
if "MNISTLAB_DATA" not in os.environ and not all(file.exists() for file in FILES):
    os.environ["MNISTLAB_DATA"] = "offline"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", r"error:\s*=+\s*NO MNIST HERE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a browser is slow."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def train() -> ml.Digits:
    return ml.load_digits("train")


@pytest.fixture(scope="session")
def test_digits() -> ml.Digits:
    return ml.load_digits("test")


@pytest.fixture(scope="session")
def offline() -> ml.Digits:
    return ml.load_digits("train", "offline")


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of annotations, so that what a reader meets can be seen: our own sentence."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, as after a fresh clone, with no MNISTLAB_DATA."""
    monkeypatch.setenv("MNISTLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MNISTLAB_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """A real browser, one for all tests."""
    if chromium() is None:
        absent = pytest.fail if os.environ.get("MNISTLAB_NEEDS_BROWSER") == "1" else pytest.skip
        absent(NONE_HERE)
    with launched() as browser:
        yield browser
