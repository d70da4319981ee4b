"""Where the suite keeps its files, and how it writes them: whole or not at all."""

import errno
import glob
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

import platformdirs

HOUR = 60 * 60  # in seconds; a part that has not changed for so long belongs to a writer that was killed
FULL = "make room there, or name another place; the old file is unchanged"
CLOSED = "name a folder that you may write to"
REMEDIES = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: FULL, errno.EROFS: CLOSED, errno.EACCES: CLOSED}


def home() -> Path:
    """The folder that holds data/ and models/: MNISTLAB_HOME, else the repository's root.

    Where mnistlab is installed apart from its repository, it is the user's cache folder.
    It never depends on the working directory, because Jupyter runs each notebook in its own folder.
    """
    if chosen := os.environ.get("MNISTLAB_HOME"):
        if not (path := Path(chosen).expanduser()).is_absolute():
            raise ValueError(f"MNISTLAB_HOME must be a whole path, such as {path.absolute()}, not {chosen!r}.")
        return path
    root = Path(__file__).resolve().parents[1]
    return root if (root / "pyproject.toml").is_file() else platformdirs.user_cache_path("mnistlab", appauthor=False)


def shipped(name: str) -> Path:
    """The checkpoint that comes with mnistlab, such as "reader": in models/, or, installed apart, beside the code."""
    file = f"{name}.safetensors"
    inside = Path(__file__).parent / "shipped" / file
    return inside if inside.is_file() and not (home() / "models" / file).is_file() else home() / "models" / file


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; put what was written at `path` on success, and remove it on any failure.

    A reader of `path` finds the old file or the new one, never half of either. A link stays, and the file that it
    points to is replaced. A pipe, a device, or the file that stdout goes to gets the content appended.
    Raises IsADirectoryError before anything is written where a folder is in the way, and OSError, with a remedy,
    where the disk is full or the folder is closed. A writer that was killed leaves its part behind; a later one
    removes it.
    """
    path = need_file(path)
    if _takes_a_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            yield (part := Path(folder) / path.name)
            with part.open("rb") as written, path.open("ab") as stream:
                shutil.copyfileobj(written, stream)
        return
    place = Path(os.path.realpath(path))
    beside = place.with_name(f".{place.name}.{token_hex(4)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
            with suppress(OSError):  # another process has just removed or finished it, or it is not ours to remove
                if time.time() - left.stat().st_mtime > HOUR:
                    left.unlink()
        yield beside
        with suppress(OSError):  # a private file stays private, where there is one
            shutil.copymode(place, beside)
        os.replace(beside, place)
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        if remedy and error.filename in (None, str(beside), str(place.parent)):  # about this file, and not yet told
            raise OSError(error.errno, f"{error.strerror}: {remedy}", str(path)) from error
        raise
    finally:
        with suppress(OSError):  # in a closed folder, too, the error above has said what happened
            beside.unlink(missing_ok=True)


def need_file(path: str | Path) -> Path:
    """`path`, unless no file can be written there: IsADirectoryError for a folder, OSError for a circle of links."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it.")
    if os.path.islink(os.path.realpath(path)):
        raise OSError(f"{path} is a link that leads back to itself; remove it, or name another file.")
    return path


def _takes_a_stream(path: Path) -> bool:
    """Whether `path` is a pipe or a device, or the very file that stdout or stderr goes to, as /dev/stdout may be."""
    try:
        there = path.stat()
        return not stat.S_ISREG(there.st_mode) or any(os.path.samestat(there, os.fstat(number)) for number in (1, 2))
    except OSError:
        return False
