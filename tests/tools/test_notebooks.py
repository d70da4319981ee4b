"""The notebooks as they are committed: executed, fresh, within their budgets, and readable by everybody."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import mnistlab as ml
from mnistlab.course import own_data
from mnistlab.live import explorer, player
from tools.build_notebooks import figures, maker, stamp

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_check(cell) -> bool:
    return "check" in cell.metadata.get("tags", [])


def prose(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def solutions(notebook) -> list[str]:
    return re.findall(r"<details><summary>Solution</summary>\s*```python\n(.*?)```\s*</details>", prose(notebook), re.S)


def test_there_are_notebooks():
    assert len(PATHS) >= 3


def test_valid_and_executed_once_in_order(notebook):
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    for cell in code(notebook):
        folded = {"jupyter": {"source_hidden": True}} if is_check(cell) else {}
        assert {name: value for name, value in cell.metadata.items() if name != "tags"} == folded
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr"


def test_outputs_belong_to_this_code(notebook):
    assert notebook.metadata.mnistlab == stamp(notebook), "stale outputs: run 'make notebooks'"


def test_live_pages_are_of_this_code(notebook):
    """Their scripts are inside the outputs, and the notebook's own stamp knows nothing of them."""
    for output in (output for cell in code(notebook) for output in cell.outputs):
        page = output.get("data", {}).get("text/html", "")
        if "mnistlab-explorer" in page:
            assert explorer.module() in page, "run 'make notebooks'"
        if "mnistlab-player" in page:
            assert (Path(player.__file__).parent / "player.js").read_text(encoding="utf-8") in page, (
                "run 'make notebooks'"
            )


def test_outputs_are_mnists_and_name_no_place(path, notebook):
    text = path.read_text(encoding="utf-8")
    assert "scikit-learn digits (offline" not in text and " digits · MNIST, " in text
    assert not re.search(r"/(home|root|work|Users|tmp)/", text)


def test_skeleton(notebook):
    first, text = notebook.cells[0].source, prose(notebook)
    assert re.match(r"# \d\d · .*\?\n", first)
    for promise in ("**You will make**", "**You need**", "**It takes**"):
        assert promise in first
    sections = re.findall(r"^## (\d) · ", text, re.M)
    assert sections == [str(n + 1) for n in range(len(sections))] and 4 <= len(sections) <= 7
    for section in re.split(r"^## ", text, flags=re.M):
        if re.match(r"\d · ", section):
            assert "**Predict first.**" in section, section.split("\n")[0]
    assert text.count("## Exercises") == 1 and len(solutions(notebook)) == 3
    recap = text.split("## In five lines")[1]
    assert len(re.findall(r"^- ", recap, re.M)) == 5 and "**Next:**" in recap


def test_budgets(path, notebook):
    content = [c for c in code(notebook) if "setup" not in c.metadata.get("tags", []) and not is_check(c)]
    lines = sorted(len(cell.source.splitlines()) for cell in content)
    words = len(re.sub(r"```.*?```", "", prose(notebook), flags=re.S).split())
    assert 35 <= sum(not is_check(cell) for cell in notebook.cells) <= 45
    assert lines[-1] <= 15 and lines[len(lines) // 2] <= 7
    assert 1200 <= words <= 2500
    pages = [o["data"].get("text/html", "") for cell in code(notebook) for o in cell.outputs if "data" in o]
    live = sum('data-part="model">{' in page for page in pages)  # a page with a network in it, which takes 1 MB more
    assert live == (path.stem == "07_forward_propagation")
    assert path.stat().st_size <= 1_000_000 * (1 + live)


def test_every_figure_has_alt_text_and_is_kept(notebook):
    pictures = [o for cell in code(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert 6 <= len(pictures) <= 10
    for picture in pictures:
        alt = picture.metadata["image/png"]["alt"]
        assert len(alt) >= 40 and not alt.startswith("Figure")
    for name, png in figures(notebook):
        assert (ROOT / "visualizations" / f"{name}.png").read_bytes() == png
    assert len(figures(notebook)) == len(pictures)


def test_a_figure_takes_one_line(notebook):
    for cell in code(notebook):
        assert not re.search(r"^\s*alt =|\bpresent\(", cell.source, re.M)
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            last = ast.parse(cell.source).body[-1]
            assert last.lineno == last.end_lineno and maker(cell.source), cell.source


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("plots.confusion(predictions)", "confusion"),
        ("picture = draw(3)\npicture", "picture"),
        ("print(1)\ndraw(digits[:3])", "draw"),
        ("figure = draw(3)", None),
        ("", None),
    ],
)
def test_a_figure_is_named_after_what_the_last_line_calls_or_shows(source, name):
    assert maker(source) == name


def test_checks_stand_in_cells_of_their_own(notebook):
    for cell in code(notebook):
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source)))
        assert asserts == is_check(cell), cell.source
        assert not (is_check(cell) and cell.outputs)


def test_links_lead_somewhere(path, notebook):
    for target in re.findall(r"\]\(([^)#]+)\)", prose(notebook)):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_solutions_are_right_and_stubs_are_stubs(notebook, monkeypatch):
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    space: dict = {}
    for cell in code(notebook):
        if "setup" in cell.metadata.get("tags", []) and "load_digits" not in cell.source:
            exec(cell.source, space)
    stubs = [cell.source for cell in code(notebook) if "exercise" in cell.metadata.get("tags", [])]
    assert len(stubs) == 3
    for sources, state in ((stubs, "not attempted"), (solutions(notebook), "right")):
        for source in sources:
            *body, last = source.strip().splitlines()
            exec("\n".join(body), space)
            verdict = eval(last, space)
            assert verdict.state == state, (source, verdict)


@pytest.mark.slow
def test_runs_offline(path, monkeypatch):
    """On scikit-learn's digits every cell runs, every assert holds, and every figure names its source."""
    if os.environ.get("MNISTLAB_DATA") == "offline":
        pytest.skip("nbmake runs the notebooks on these digits")
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    ).execute()
    said = "".join(str(o.get("data", o.get("text"))) for cell in code(notebook) for o in cell.outputs)
    assert "scikit-learn digits (offline stand-in, not MNIST)" in said


@pytest.mark.slow
def test_the_notebook_on_your_own_data_runs_on_a_folder_of_yours(tmp_path, monkeypatch):
    """Five classes of different sizes, whose files don't say who drew them."""
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    drawn = own_data.draw_signs(tmp_path / "drawn", people=6, each=4)
    for number, sign in enumerate(("A", "H", "circle", "square", "triangle")):
        (tmp_path / "mine" / sign).mkdir(parents=True)
        for file in sorted((drawn / sign).iterdir())[number:]:
            file.rename(tmp_path / "mine" / sign / f"scan {len(list((tmp_path / 'mine' / sign).iterdir()))}.png")
    notebook = nbformat.read(ROOT / "notebooks" / "12_your_own_data.ipynb", as_version=4)
    setup = next(cell for cell in notebook.cells if cell.source.startswith("OWN = None"))
    setup.source = setup.source.replace("OWN = None", f"OWN = {str(tmp_path / 'mine')!r}")
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    said = "".join(str(o.get("data", o.get("text"))) for cell in code(notebook) for o in cell.outputs)
    assert "classes: A, H, circle, square, triangle" in said and "knows A, H, circle, square, triangle" in said


def test_importing_the_library_leaves_matplotlib_alone():
    command = "import mnistlab, sys; assert not {'matplotlib', 'IPython', 'seaborn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)


def test_home_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MNISTLAB_HOME", raising=False)
    assert ml.home() == ROOT
    monkeypatch.setenv("MNISTLAB_HOME", "here")
    with pytest.raises(ValueError, match="whole path"):
        ml.home()
