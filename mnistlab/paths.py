"""Where the suite keeps its files, and how it writes them: whole or not at all."""

import errno
import glob
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

HOUR = 60 * 60  # in seconds; whoever has not gone on writing for so long was killed
FULL = "make room there, or name another place; what was there is as it was"
CLOSED = "name a folder that you may write to"
REMEDIES = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: FULL, errno.EROFS: CLOSED, errno.EACCES: CLOSED}


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

    Whoever reads `path` meets the old file or the new one, never half of either. OSError, with a remedy, where the
    disk is full or the folder closed. A writer that was killed leaves its part, which a later one removes.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            with suppress(OSError):  # somebody else has just cleared it or finished it, or it is theirs
                if time.time() - left.stat().st_mtime > HOUR:
                    left.unlink()
        yield beside
        os.replace(beside, path)
    except OSError as error:
        remedy = REMEDIES.get(error.errno)
        if remedy and error.filename in (None, str(beside), str(path.parent)):  # of this file, and not said before
            raise OSError(error.errno, f"{error.strerror}: {remedy}", str(path)) from error
        raise
    finally:
        with suppress(OSError):  # of a closed folder, too, what happened is said above
            beside.unlink(missing_ok=True)
