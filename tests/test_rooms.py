"""Who may import whom in mnistlab: one way, down. A leaf is imported from nowhere below it."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "mnistlab"
MODULES = {
    ".".join(("mnistlab", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
# From the ground up. A room may import from its own floor's module and from every floor below it.
FLOORS = [
    {"paths"},
    {"hardware", "reading.picture", "training.schedules"},
    {"data"},
    {"networks"},
    {"analysis", "inspection"},
    {"training.config", "training.workers", "training.progress", "reading.familiarity"},
    {"runs"},
    {"training"},
    {"reading"},
    {"figures"},
    {"live"},
    {"films", "shipping"},
    {"course"},
    {"__main__"},
]
LEAVES = {"course", "live", "films"}
# The exceptions: who may import from a leaf that is not its own.
MAY_IMPORT_LEAVES = {
    "mnistlab": LEAVES,  # the lazy names
    "mnistlab.__main__": LEAVES,  # the command line
    "shipping": {"live"},
    "films": {"live"},  # only the player
    "course": {"films", "live"},  # the lessons stand on top of both
}


def room(module: str) -> str:
    """The floor's name for a module: its own, where it has one, else its folder's."""
    inner = module.removeprefix("mnistlab").removeprefix(".")
    names = {name for floor in FLOORS for name in floor}
    return inner if inner in names else inner.split(".")[0]


def imported(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name in MODULES:
                yield name
            elif name.rpartition(".")[0] in MODULES:
                yield name.rpartition(".")[0]


GRAPH = {module: set(imported(module)) - {module, "mnistlab"} for module in MODULES}


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_every_module_has_a_floor():
    assert [module for module in MODULES if module != "mnistlab" and not any(room(module) in f for f in FLOORS)] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != "mnistlab"])
def test_imports_run_down(module):
    up = {
        other
        for other in GRAPH[module]
        if room(other) != room(module) and other.split(".")[1] != room(module) and floor(other) >= floor(module)
    }
    assert not up, f"{module} stands on floor {floor(module)} and imports from above"


@pytest.mark.parametrize("module", MODULES)
def test_leaves_are_imported_from_nowhere_below(module):
    own = room(module).split(".")[0]
    allowed = MAY_IMPORT_LEAVES.get(module, MAY_IMPORT_LEAVES.get(own, set())) | {own}
    taken = {other for other in GRAPH[module] if room(other) in LEAVES and room(other) not in allowed}
    assert not taken, f"{module} imports from a leaf"
    if own == "films":
        assert all(".player" in other for other in GRAPH[module] if room(other) == "live")


def test_no_circles_and_no_long_chains():
    chains: dict[str, list[str]] = {}
    for module in TopologicalSorter(GRAPH).static_order():  # CycleError, naming the circle, where there is one
        chains[module] = [module, *max((chains[other] for other in GRAPH[module]), key=len, default=[])]
    longest = max(chains.values(), key=len)
    assert len(longest) <= 9, " → ".join(longest)


def test_nothing_edits_the_search_path():
    for folder in ("mnistlab", "tests", "tools", "benchmarks", "docs"):
        for path in (ROOT.parent / folder).rglob("*.py"):
            assert path == Path(__file__) or "sys.path" not in path.read_text(encoding="utf-8"), path
    assert "pythonpath" not in (ROOT.parent / "pyproject.toml").read_text(encoding="utf-8")
