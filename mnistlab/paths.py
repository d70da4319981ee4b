"""Where the suite keeps its files, and how it writes them: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def home() -> Path:
    """The folder that holds data/, models/ and notebooks/: MNISTLAB_HOME, else the repository's root.

    It never depends on the working directory, because Jupyter runs each notebook in its own folder.
    """
    if chosen := os.environ.get("MNISTLAB_HOME"):
        if not (path := Path(chosen).expanduser()).is_absolute():
            raise ValueError(f"MNISTLAB_HOME must be a whole path, such as {path.absolute()}, not {chosen!r}.")
        return path
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():
        raise FileNotFoundError(
            "mnistlab is installed apart from its repository and does not know where to keep its files. "
            "Set MNISTLAB_HOME to a folder of yours, or install with 'pip install -e .' from the repository."
        )
    return root


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place on success, remove it on any failure.

    Whoever reads `path` meets the old file or the new one, never half of either.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
