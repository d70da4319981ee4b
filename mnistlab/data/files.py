"""How pictures and labels are read from files: IDX, CSV, NPZ, and folders of pictures. Each reader gives arrays."""

import gzip
import hashlib
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from mnistlab.data.digits import DataError

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 600 * 2**20  # of one array, unpacked: room for 800,000 pictures
Form = Literal["mnist", "plain"]
# The columns of the CSV tables that are about: Kaggle's digits, Kaggle's Fashion-MNIST, and "MNIST in CSV".
HEADERS: dict[str, list[str]] = {
    "pixel0 … pixel783": [f"pixel{place}" for place in range(784)],
    "pixel1 … pixel784": [f"pixel{place}" for place in range(1, 785)],
    "1x1 … 28x28": [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)],
}


def idx_file(folder: Path, name: str) -> Path | None:
    """`name` in `folder`, plain or .gz, also under its older spelling train-images.idx3-ubyte."""
    spellings = (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz")
    return next((folder / s for s in spellings if (folder / s).exists()), None)


def read_idx(file: Path, dimensions: int) -> tuple[np.ndarray, str]:
    """The array in an IDX file, and the MD5 of its bytes.

    IDX: 0, 0, 8 for uint8, the number of dimensions, each as a big-endian uint32, then the bytes.
    """
    size = 4 + 4 * dimensions
    header = first_bytes(file, size)
    if len(header) == 0:
        raise DataError(f"{file} is empty. Move it away and fetch it again.")
    if header[:4] != bytes([0, 0, 8, dimensions])[: len(header)]:
        raise DataError(f"{file} does not start as an IDX file of {dimensions} dimension(s): wrong magic number.")
    if len(header) < size:
        raise DataError(f"{file} is truncated: it ends within its header. Move it away and fetch it again.")
    shape = [int(n) for n in np.frombuffer(header[4:], ">u4")]
    announced = size + math.prod(shape)
    if announced > MOST_BYTES:
        raise DataError(
            f"{file} announces {announced:,} bytes, and {MOST_BYTES:,} are the most: it is altered, "
            f"or holds too many digits to be read at once."
        )
    # One byte more would show that there is more; all of a small .gz might not fit into memory.
    content = first_bytes(file, announced + 1)
    if len(content) != announced:
        there = "more" if len(content) > announced else f"only {len(content):,}"
        raise DataError(
            f"{file} announces {announced:,} bytes in its header and has {there}: "
            f"it is truncated or altered. Move it away and fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=size).reshape(shape), hashlib.md5(content).hexdigest()


def first_bytes(file: Path, count: int) -> bytes:
    """At most `count` bytes of what `file` holds, unpacked where it is a .gz."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as content:
            return content.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is truncated, altered or not a gzip file. Move it away and fetch it again.") from error


def read_table(file: Path) -> tuple[np.ndarray, "np.ndarray | None"]:
    """(N, 28, 28) uint8 from a CSV table of one picture a row, and its labels, numbers or words, where it has any.

    The label comes in a column of that name; the pixels as in one of HEADERS, or without a header after the label.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file)
        if all(re.fullmatch(r"-?\d+(\.\d+)*", name) for name in table.columns):  # the header is a row of numbers
            names = HEADERS["pixel0 … pixel783"]
            table = pd.read_csv(file, header=None, names=(["label"] if len(table.columns) == 785 else []) + names)
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{file} is empty. Fetch it again.") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a CSV table ({error}).") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first of too many columns for row names
        raise DataError(f"{file} has more values in its rows than names in its header: one extra column at least.")
    columns = max(HEADERS.values(), key=lambda names: len(table.columns.intersection(names)))
    labelled = "label" in table.columns
    expected = ["label", *columns] if labelled else columns
    missing = [name for name in expected if name not in table.columns]
    extra = list(table.columns.drop(expected, errors="ignore"))
    if missing or extra:
        said = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} too many"] * bool(extra)
        raise DataError(f"{file} {' and '.join(said)}; it needs the columns label and {', or '.join(HEADERS)}.")
    if table.empty:
        raise DataError(f"{file} holds a header and no digits.")
    values = table[columns].apply(_numbers)
    whole = values.notna() & (values % 1 == 0) & values.ge(0) & values.le(255)
    if not whole.to_numpy().all():
        row, column = np.argwhere(~whole.to_numpy())[0]
        raise DataError(
            f"{file}, line {row + 2}, column {columns[column]}: {table.iloc[row][columns[column]]!r} is not a "
            f"whole number in 0…255."
        )
    labels = None
    if labelled:
        labels = table["label"].to_numpy()
        if (blank := table["label"].isna().to_numpy()).any():
            raise DataError(f"{file}, line {int(blank.argmax()) + 2}: there is no label.")
    return values.to_numpy(np.uint8).reshape(-1, 28, 28), labels


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    import pandas as pd

    if pd.api.types.is_any_real_numeric_dtype(column):
        return column
    return pd.to_numeric(column.astype(str), errors="coerce")  # as text: pandas fails on integers beyond floats


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_npz(file: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and labels of one split from a NumPy archive, such as Keras's mnist.npz."""
    pairs = [(f"x_{split}", f"y_{split}"), (f"{split}_images", f"{split}_labels")]
    pairs += [("images", "labels"), ("x", "y")] if split == "train" else []
    try:
        with zipfile.ZipFile(file) as archive:
            if any(part.file_size > MOST_BYTES for part in archive.infolist()):
                raise DataError(f"{file} unpacks to more than {MOST_BYTES:,} bytes an array, which is too much.")
        with np.load(file, allow_pickle=False) as arrays:
            pair = next((pair for pair in pairs if set(pair) <= set(arrays.files)), None)
            if pair is None:
                there = ", ".join(arrays.files) or "nothing"
                raise DataError(f"{file} holds {there}; it needs {' and '.join(pairs[0])} for the {split} pictures.")
            images, labels = (arrays[name] for name in pair)
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} is damaged, or no NumPy archive ({error}). Fetch it again.") from error
    except DataError:
        raise
    except ValueError as error:  # NumPy's word for an array of Python objects, which could run code
        raise DataError(f"{file} holds more than numbers, and was not opened ({error}).") from error
    return images, labels


def class_folders(folder: Path) -> list[Path]:
    """The sub-folders, one a class, in the order of their names, with 10 after 9."""

    def order(path: Path) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

    return sorted((path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._"), key=order)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names."""
    from mnistlab.reading.picture import SUFFIXES

    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name[0] != ".")
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def read_folders(folders: Sequence[Path], form: Form) -> tuple[Tensor, Tensor, list[str]]:
    """(N, 1, 28, 28) uint8 from the pictures in class folders, (N,) labels, and what was left out, each with why.

    form: "mnist" finds the ink and brings it to MNIST's size and place; "plain" only shrinks each picture.
    """
    from mnistlab.reading.picture import SUFFIXES, PictureError, shrunk, to_mnist

    def read(file: Path) -> Tensor | str:
        try:
            return to_mnist(file) if form == "mnist" else shrunk(file)
        except PictureError as error:
            return str(error)

    pictures = [(label, file) for label, folder in enumerate(folders) for file in pictures_in(folder)]
    known = {file for _, file in pictures}
    others = [file for folder in folders for file in sorted(folder.iterdir()) if file not in known]
    left_out = [f"{file.parent.name}/{file.name}" for file in others if file.name[0] != "."]
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(read, (file for _, file in pictures)))
    left_out += [said for said in found if isinstance(said, str)]
    kept = [
        (picture, label) for picture, (label, _) in zip(found, pictures, strict=True) if isinstance(picture, Tensor)
    ]
    if not kept and pictures:
        raise DataError(f"None of the {len(pictures):,} pictures could be read. {left_out[-1]}")
    if not kept:
        wanted = ", ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        raise DataError(f"There is no picture in {folders[0].parent}/*/; name them {wanted}.")
    return torch.stack([picture for picture, _ in kept]), torch.tensor([label for _, label in kept]), left_out
