"""The pages around the code are true: their links, their commands, their numbers, their examples."""

import doctest
import importlib
import json
import re
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import mnistlab as ml
from mnistlab.__main__ import main
from tests.test_project import result
from tests.test_rooms import FLOORS

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(path for folder in ("docs", "benchmarks", "data") for path in sorted((ROOT / folder).rglob("*.md"))),
]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands(text: str) -> list[str]:
    """The lines of a page's plain code blocks, and the code within its sentences; no comments."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.M | re.S)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines + spans if line]


def made_by(command: str) -> list[str]:
    """The targets in a call of make."""
    return [word for word in command.split()[1:] if "=" not in word] if command.split()[:1] == ["make"] else []


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+)(?= *[a-z]*:(?!=))", read("Makefile"), re.M))


def anchors(path: Path) -> set[str]:
    """What a link may name behind the # of a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists() and path.resolve().is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(path), target


def test_make_knows_what_the_pages_name(page):
    named = {target for command in commands(page.read_text(encoding="utf-8")) for target in made_by(command)}
    assert named - {"…"} <= targets()


def test_modules_that_the_pages_run_are_there(page):
    for module in re.findall(r"python -m ((?:benchmarks|tests|tools)[\w.]*\w)", page.read_text(encoding="utf-8")):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_the_command_line_knows_what_the_pages_type(page, capsys):
    for line in commands(page.read_text(encoding="utf-8")):
        if typed := re.search(r"(?:^| )mnistlab ([a-z-].*)", line):
            command, *rest = typed[1].split()
            options = {word for word in (command, *rest) if word.startswith("--")}
            assert main([*({command} - options), "--help"]) == 0, line
            assert options <= set(capsys.readouterr().out.split()), line


def test_the_top_level_is_what_the_design_says():
    """What git ignores and what begins with a dot aside."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git repository")
    folders = {path.split("/")[0] for path in listed.stdout.splitlines() if "/" in path and not path.startswith(".")}
    sentence = re.search(r"The top level has only these folders: (.*?)\.", read("docs/design.md"), re.S)
    assert folders == set(re.findall(r"`(\w+)/`", sentence[1]))


def test_the_design_names_the_floors_as_they_are():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", read("docs/design.md"), re.M)
    assert [int(number) for number, _ in rows] == list(range(len(FLOORS)))
    assert [set(re.findall(r"`([\w.]+)`", names)) for _, names in rows] == FLOORS


def test_the_map_shows_every_room():
    shown = set(re.findall(r"^\| `(\w+/|\w+\.py)`(?:, `(\w+\.py)`)? \|", read("CONTRIBUTING.md"), re.M))
    shown = {name for names in shown for name in names if name}
    rooms = {path.name + "/" for path in (ROOT / "mnistlab").iterdir() if (path / "__init__.py").is_file()}
    rooms |= {path.name for path in (ROOT / "mnistlab").glob("[a-z]*.py")}
    beside = {f"{name}/" for name in ("notebooks", "tests", "benchmarks", "tools", "docs", "models")}
    assert rooms <= shown and shown <= rooms | beside


def test_readme_table_and_pictures():
    text = read("README.md")
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        title = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"][0]
        question = title.split("·")[1].strip()
        assert f"[{question}](notebooks/{notebook.name})" in text
    pictures = re.findall(r"!\[[^]]{40,}\]\(([^)]+)\)", text)
    assert pictures[0] == "animations/forward_confident.gif" and len(pictures) == 5
    for page in (ROOT / "docs").glob("*.md"):
        assert f"](docs/{page.name})" in text


def test_numbers_about_the_benchmarks_are_the_measured_ones():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    quotes = [f"| {what} | {ms:.1f} |" for what, ms in result("profile")["milliseconds_a_step"].items()]
    for name, aim in {"99.0%": "0.035", "99.5%": "0.12"}.items():
        reached = result("accuracy")["to"][name]
        quotes += [
            f"| {name} in {aim}",
            f"{reached['accuracy']['mean']:.2%} in {reached['share_of_a_usual_epoch']:.3f} |",
        ]
    times = {name: ratio["median"] for name, ratio in result("loops")["times_as_fast_as_the_usual_loop"].items()}
    quotes += [f"| {times['mnistlab, reference network at 28×28, with dropout']:.1f} times |"]
    quotes += [f"| {times['mnistlab, TrainConfig.quick()']:.1f} times; {times['mnistlab, 24×24 crops']:.1f} times on"]
    single, longer = result("shipped")["single"], result("shipped_longer")["single"]
    quotes += [f"| {single['mean']:.2%} |", f"{longer['mean']:.2%} ± {longer['std']:.2%}"]
    quotes += [f"| {result('shipped')['teams_of_5_of_6']['mean']:.2%} |"]
    assert len(result("shipped")["test_digits_that_all_get_wrong"]) == 11
    assert [quote for quote in quotes if quote not in text] == []
    assert all((ROOT / "benchmarks" / target).exists() for target in re.findall(r"\]\(([^)]+)\)", text))


def test_the_page_of_results_quotes_what_the_explorer_costs():
    found, text = result("explorer"), read("docs/results.md")
    assert f"{found['page_bytes'] / 1e6:.1f} MB" in text and f"in {found['milliseconds']['forward']:.0f} ms" in text
    assert f"within {found['largest_logit_difference']:.3f}" in text
    assert found["milliseconds"]["preparation"] > found["milliseconds"]["forward"]  # which the page says, too


def test_the_page_of_results_quotes_the_forms_and_the_relatives():
    text = read("docs/results.md")
    assert [line for line in [*forms_table(), *relatives_table()] if line not in text] == []


def test_the_page_of_results_quotes_the_interval_and_what_choosing_on_the_test_set_flatters():
    text = read("docs/results.md")
    low, high = ml.Evaluation(28, 10_000, 0.0).interval
    assert f"28 of 10,000 wrong, Wilson's 95% interval runs from {low:.2%} to {high:.2%}" in text
    best = result("choosing")["best_of"]["12"]
    points = 100 * (best["claimed"] - best["on_digits_not_chosen_on"])
    assert f"the best of twelve runs claims {points:.2f} points more" in text


def forms_table() -> list[str]:
    lines = []
    for name, form in result("forms")["forms"].items():
        times = form.get("milliseconds_a_digit")
        cells = [f"{form['bytes'] / 1e6:.2f} MB"]
        if times:
            speeds = [f"{form['digits_a_second'][batch]:,}" for batch in ("64", "1000")]
            cells += [f"{form['errors']}", f"{times['p50']:.2f}", f"{times['p99']:.2f}", *speeds]
        else:
            cells += ["–", f"{form['milliseconds_in_a_browser']:.2f}, in a browser", "–", "–", "–"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def relatives_table() -> list[str]:
    """The accuracies, counted anew from the runs."""
    found = result("relatives")
    lines = []
    for name, ratio in found["speed"].items():
        errors = [row["errors"] for row in found["networks"]["runs"] if row["name"] == name]
        assert len(errors) >= 5
        layers = ml.layer_table(getattr(ml, name)())
        right = [100 - count / 100 for count in errors]
        lines.append(
            f"| {name} | {layers['parameters'].sum():,} | {layers['multiply_adds'].sum() / 1e6:.1f} million "
            f"| {ratio['ratio_to_the_reference']:.2f} | {statistics.mean(right):.2f}% ± {statistics.stdev(right):.2f}% "
            f"| {statistics.mean(errors):.1f} |"
        )
    return lines


def test_names_that_have_changed_lead_to_what_is_there():
    tables = re.findall(r"^\| before \| now \|\n\|---\|---\|\n((?:\|.*\n)+)", read("CHANGELOG.md"), re.M)
    rows = [line.strip("| ").split(" | ") for table in tables for line in table.splitlines()]
    assert len(tables) == 2 and len(rows) > 30
    for before, now in rows:
        (old,), new = re.findall(r"`([^`]+)`", before), re.findall(r"`([^`]+)`", now)
        assert new and old not in new
        for name in new:
            path = ROOT / name if "/" in name else ROOT / "notebooks" / f"{name}.ipynb"
            if name.startswith("mnistlab"):
                path = ROOT / name.replace(".", "/")
                path = path if path.is_dir() else path.with_suffix(".py")
            assert path.exists(), name


def test_the_changes_and_the_citation_name_this_version():
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.M)
    assert "\n## [Unreleased]\n" in read("CHANGELOG.md")
    cited = yaml.safe_load(read("CITATION.cff"))
    assert released[0] == (ml.__version__, str(cited["date-released"])) and cited["version"] == ml.__version__


def test_the_citation_is_one_by_its_schema():
    """The part of the Citation File Format 1.2.0 that it uses."""
    cited = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert set(cited) <= {
        *("cff-version", "message", "type", "title", "abstract", "authors"),
        *("license", "version", "date-released", "keywords"),
    }
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["authors"] == [{"name": "The mnistlab team"}]  # a team, and not a person
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert cited["title"] == project["name"] and cited["license"] == project["license"]
    assert len(set(cited["keywords"])) == len(cited["keywords"])
    texts = [cited[name] for name in ("message", "title", "abstract", "version", "license")] + cited["keywords"]
    assert all(isinstance(text, str) and text for text in texts)


def test_the_workflow_has_its_jobs_and_make_knows_their_targets():
    jobs = WORKFLOW["jobs"]
    assert set(jobs) == {"lint", "test", "site", "deploy"}
    made = {name: [t for step in job["steps"] for t in made_by(step.get("run", ""))] for name, job in jobs.items()}
    assert made == {"lint": ["lint"], "test": ["data", "test"], "site": ["html"], "deploy": []}
    assert {target for named in made.values() for target in named} <= targets()
    actions = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in actions)
    assert all(job["runs-on"] == "ubuntu-latest" and job["timeout-minutes"] for job in jobs.values())


def test_the_workflow_tests_the_oldest_python_and_needs_a_browser():
    job = WORKFLOW["jobs"]["test"]
    oldest = tomllib.loads(read("pyproject.toml"))["project"]["requires-python"].removeprefix(">=")
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons[0] == oldest and len(pythons) == 2 and tuple(map(int, pythons[1].split("."))) > (3, 11)
    assert job["env"]["MNISTLAB_NEEDS_BROWSER"] == "1"
    assert any("MNISTLAB_AXE=" in step.get("run", "") for step in job["steps"])


def test_only_the_main_branch_is_deployed_and_only_that_job_may_write():
    deploy = WORKFLOW["jobs"]["deploy"]
    assert "github.event_name == 'push'" in deploy["if"] and "github.ref == 'refs/heads/main'" in deploy["if"]
    assert set(deploy["needs"]) == {"lint", "test", "site"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in WORKFLOW["jobs"].items() if "permissions" in job] == ["deploy"]
    upload = WORKFLOW["jobs"]["site"]["steps"][-1]
    assert upload["uses"].startswith("actions/upload-pages-artifact@") and upload["with"] == {"path": "site"}


WITH_EXAMPLES = {"output_size", "receptive_field", "layer_table", "Digits.split", "Ledger", "wilson"}


def test_examples_in_docstrings_give_what_they_say():
    found = set()
    for path in sorted((ROOT / "mnistlab").rglob("*.py")):
        if not re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.M):
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        module = importlib.import_module(name)
        for test in doctest.DocTestFinder().find(module):
            if test.examples:
                found.add(test.name.removeprefix(f"{name}."))
                report: list[str] = []
                assert doctest.DocTestRunner().run(test, out=report.append).failed == 0, "".join(report)
    assert found >= WITH_EXAMPLES
