"""The repository keeps its own rules."""

import ast
import itertools
import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import mnistlab as ml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]


def name(requirement: str) -> str:
    return re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("_", "-")


def imports(file: Path) -> set[str]:
    """Top-level packages, and modules of our own, that a file imports at its top."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_environment_yml_keeps_step_with_pyproject():
    text = (ROOT / "environment.yml").read_text()
    pip = next(entry["pip"] for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, dict))
    assert "-e .[notebooks,export,app,test]" in pip
    listed = {name(package) for package in re.findall(r"^#   (\S+): ", text, re.M)}
    assert listed == {name(r) for r in REQUIRED}


def test_every_requirement_is_pinned_and_has_a_lower_bound():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {name(line) for line in lines}
    for requirement in REQUIRED:
        assert name(requirement) in pinned and ">=" in requirement


def test_only_figures_draw():
    for path in (ROOT / "mnistlab").rglob("*.py"):
        drawing = any(name.split(".")[0] in ("matplotlib", "seaborn", "IPython") for name in imports(path))
        assert not drawing or path.parent.name in ("figures", "course"), f"{path} imports a drawing library"


def test_figures_are_returned_not_shown():
    for path in (ROOT / "mnistlab").rglob("*.py"):
        assert not re.search(r"\.show\(\)|^\s*print\(", path.read_text(), re.M) or path.name == "__main__.py", path


def result(name: str) -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def test_numbers_on_the_page_of_results_are_the_measured_ones():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    accuracy, loops, shipped = map(result, ("accuracy", "loops", "shipped"))
    quotes = []
    for reached in accuracy["to"].values():
        right = reached["accuracy"]
        quotes += [f"{right['mean']:.2%} ± {right['std']:.2%} | {reached['seconds']:.1f} s"]
        quotes += [f"{reached['share_of_a_usual_epoch']:.3f}"]
    for name, ratio in loops["times_as_fast_as_the_usual_loop"].items():
        quotes += [f"{loops['seconds_an_epoch'][name]['median']:.0f} s | {ratio['median']:.1f}×"]
    quotes += [f"{1 - accuracy['usual_errors_after_one_epoch'] / 10_000:.2%}"]
    quotes += [f"{shipped['single']['mean']:.2%} ± {shipped['single']['std']:.2%}"]
    quotes += [f"{shipped['teams_of_5_of_6']['mean']:.2%}"]
    for network in ("cnn", "ensemble"):
        metrics = ml.load(ROOT / "models" / f"{network}.safetensors").metrics
        quotes += [f"{metrics['test']['errors']} of 10,000"]
    assert [quote for quote in quotes if quote not in text] == []


def test_accuracy_was_measured_with_seeds_and_settings_as_they_are():
    quick = ml.TrainConfig.quick
    for name, config in {"99.0%": quick(epochs=0.11), "99.5%": quick(epochs=0.34), "99.7%": ml.TrainConfig()}.items():
        reached = result("accuracy")["to"][name]
        assert reached["config"] == json.loads(json.dumps(asdict(config)))
        errors = [row["errors"] for row in reached["runs"]]
        assert len({row["seed"] for row in reached["runs"]}) == len(errors) >= 10
        assert reached["accuracy"]["mean"] == pytest.approx(1 - sum(errors) / len(errors) / 10_000)


def test_the_readmes_first_page_of_use_runs_as_written(tmp_path, monkeypatch):
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S).group(1)
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    (tmp_path / "models").mkdir()
    for file in (ROOT / "models").glob("*.*"):
        (tmp_path / "models" / file.name).symlink_to(file)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    exec(snippet, space)
    assert space["logits"].shape == (8, 10)
    assert (tmp_path / "models" / "runs" / "mine.safetensors").exists()


def test_settings_are_those_that_were_compared():
    """Each named configuration stands among its rivals, and none of them did clearly better on validation."""
    named = {"quick": ml.TrainConfig.quick(), "default": ml.TrainConfig(), "best": ml.TrainConfig.best()}
    for name, config in named.items():
        recipe = result(f"recipe_{name}")
        assert recipe["configs"]["as it is"] == json.loads(json.dumps(asdict(config)))
        errors: dict[str, list[int]] = {}
        for row in recipe["runs"]:
            errors.setdefault(row["candidate"], []).append(row["val_errors"])
        means = {candidate: sum(found) / len(found) for candidate, found in errors.items()}
        assert means["as it is"] <= min(means.values()) + 5, name  # half of what chance moves one run by
    config = ml.load(ROOT / "models" / "cnn.safetensors").config
    assert json.loads(json.dumps(asdict(config))) == result("recipe_best")["configs"]["as it is"]


def test_the_page_of_results_quotes_the_pictures_table():
    from tools import pictures

    found, text = result("handwriting"), (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for method in ("resized", "boxed", "to_mnist", "the ink itself"):
        groups = [[found["right"][kind]["MNIST"][method] for kind in kinds] for kinds in pictures.KINDS.values()]
        assert " | ".join(f"{sum(shares) / len(shares):.1%}" for shares in groups) in text, method
    assert f"{found['count']} of each kind" in text and f"read {found['folder']['ratio']:.1f} times as fast" in text
    ways = found["round_trip"]
    for way in ("black on white", "enlarged on a canvas of 280"):
        assert f"{ways[way]['grey_levels']:.2f}" in text
    reader = ml.load(ROOT / "models" / "reader.safetensors").metrics["test"]
    assert f"{reader['accuracy']:.2%} ({reader['errors']} of 10,000 wrong) | seed 0, on MNIST and 4,000" in text
