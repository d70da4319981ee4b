"""Where the browser comes from."""

from pathlib import Path

import pytest

from tools.browser import chromium, launched

ROOT = Path(__file__).parents[2]


def test_the_named_browser_comes_first_then_the_machines_own(tmp_path, monkeypatch):
    for name in ("google-chrome", "chromium"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MNISTLAB_CHROMIUM", raising=False)
    assert chromium() == str(tmp_path / "chromium")
    monkeypatch.setenv("MNISTLAB_CHROMIUM", "/opt/mine")
    assert chromium() == "/opt/mine"


def test_without_one_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MNISTLAB_CHROMIUM", raising=False)
    assert chromium() is None
    with pytest.raises(RuntimeError, match="install one, or name it in MNISTLAB_CHROMIUM"), launched():
        pass


def test_it_is_looked_for_in_one_place():
    files = [path for folder in ("mnistlab", "tests", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    for text in ("google-chrome", "sync_playwright()"):
        assert {path.name for path in files if text in path.read_text(encoding="utf-8")} <= {
            "browser.py",
            Path(__file__).name,
        }
