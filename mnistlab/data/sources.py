"""Where digits come from: MNIST on disk, by download, from Kaggle or IDX files, or scikit-learn's digits offline."""

import gzip
import hashlib
import math
import os
import shutil
import socket
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mnistlab.data.digits import DataError, Digits
from mnistlab.data.form import centre_in_box
from mnistlab.paths import home

if TYPE_CHECKING:
    import pandas as pd

PREFIX = {"train": "train", "test": "t10k"}
# MD5 of MNIST's four files as they are after decompression.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
WHOLE = {
    "365dab9bac26085dc69f1022fe166e2f": "train",
    "a9c5e64a683c5dd2f6a9bf7c61b53e6f": "test",
}  # Digits.md5 of all of MNIST
OFFLINE = "scikit-learn digits (offline stand-in, not MNIST)"
MOST_BYTES = 600 * 2**20  # of an IDX file, unpacked: room for 800,000 digits
PIXELS = [f"pixel{i}" for i in range(784)]


def load_digits(split: str = "train", source: str | Path = "auto") -> Digits:
    """The digits of one split, "train" or "test".

    source:
      "auto"      MNISTLAB_DATA where it is set; else data/; else download into data/; else, with a warning,
                  scikit-learn's digits. `Digits.source` says which it was.
      "download"  torchvision's download (its mirrors, its checksums) into data/, unless they are there already.
      "offline"   scikit-learn's 1,797 digits brought to MNIST's form: 1,437 to train on, 360 to test on.
      a path      a folder with MNIST/raw/* (checked by MD5), with IDX files (.gz too) or with Kaggle's
                  train.csv and test.csv.
    MNISTLAB_DATA takes a path (a relative one starts at the repository's root) or "offline".

    Raises DataError, naming file and remedy, for anything truncated, altered or malformed. Deletes nothing.
    """
    if split not in PREFIX:
        raise DataError(f'There is no split "{split}"; take "train" or "test".')
    if source == "auto" and (chosen := os.environ.get("MNISTLAB_DATA")):
        source = chosen if chosen == "offline" else home() / Path(chosen).expanduser()
    if source == "offline":
        return _offline(split)
    try:
        if source == "download":
            return _downloaded(split)
        if source == "auto":
            return _found_or_downloaded(split)
        return _from_folder(Path(source).expanduser(), split)
    except PermissionError as error:
        raise DataError(f"No permission to read {error.filename}. Allow it, or choose another folder.") from error


def writers(digits: Digits) -> "pd.DataFrame | None":
    """Who wrote each digit, one row a digit: the number of its `writer`, and the `group`, "students" or "employees".

    It is known for the whole of MNIST's training set and of its test set, from QMNIST's label files
    (qmnist-train-labels-idx2-int.gz and qmnist-test-…). They are looked for where the digits came from: in QMNIST/raw
    beside MNIST/raw, where torchvision's QMNIST puts them, or in a folder qmnist one level higher. None where there
    are none, and for all other digits.
    Raises DataError for a file that is damaged or belongs to other digits.  Source: Yadav & Bottou, 2019.
    """
    root, split = digits.folder, WHOLE.get(digits.md5)
    if root is None or split is None:
        return None
    name = f"qmnist-{split}-labels-idx2-int"
    file = _idx_file(root / "QMNIST" / "raw", name) or _idx_file(root.parent / "qmnist", name)
    if file is None:
        return None
    # After a header of 12 bytes, eight numbers a digit: label, series of forms, writer, … What is missing becomes −1.
    size = 8 * 4 * len(digits)  # QMNIST's test set goes on where MNIST's ends
    rows = np.frombuffer(_first_bytes(file, 12 + size)[12:].ljust(size, b"\xff"), ">i4").reshape(-1, 8)
    if not np.array_equal(rows[:, 0], digits.known_labels("be compared").cpu().numpy()):
        raise DataError(f"{file} is damaged, or not QMNIST's: its labels are not MNIST's. Fetch it again.")
    import pandas as pd

    groups = np.where(rows[:, 1] == 4, "students", "employees")
    return pd.DataFrame({"writer": rows[:, 2].astype(int), "group": groups})


def _found_or_downloaded(split: str) -> Digits:
    if (digits := _find_in(home() / "data", split)) is not None:
        return digits
    try:
        return _downloaded(split)
    except PermissionError:
        raise
    except OSError as error:
        warnings.warn(
            f"\n{'=' * 88}\nNO MNIST HERE: these are 1,797 digits that scikit-learn ships, not MNIST's 70,000.\n"
            f"The download failed: {str(error).strip()}\nNumbers and figures will differ from those in the text. "
            f"Connect once and run again,\nor set MNISTLAB_DATA to a folder that holds MNIST/raw.\n{'=' * 88}",
            stacklevel=3,
        )
        return _offline(split)


def _from_folder(folder: Path, split: str) -> Digits:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Name one that holds MNIST/raw, IDX files or Kaggle's CSV files.")
    if (digits := _find_in(folder, split)) is not None:
        return digits
    raise DataError(
        f"No MNIST in {folder}. Connect once and run 'python -m mnistlab data', or set MNISTLAB_DATA to a folder "
        f"that holds MNIST/raw, {PREFIX[split]}-images-idx3-ubyte with its labels, or Kaggle's {split}.csv."
    )


def _find_in(folder: Path, split: str) -> Digits | None:
    """The split from the first form in which `folder` holds it; None where it holds none."""
    for closed in (folder, folder / "MNIST", folder / "MNIST" / "raw"):
        if os.path.lexists(closed) and not os.access(closed, os.R_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", str(closed))
    for raw, official in ((folder / "MNIST" / "raw", True), (folder, False)):
        if images := _idx_file(raw, f"{PREFIX[split]}-images-idx3-ubyte"):
            labels = _idx_file(raw, f"{PREFIX[split]}-labels-idx1-ubyte")
            if labels is None:
                raise DataError(f"{images} has no labels beside it ({PREFIX[split]}-labels-idx1-ubyte).")
            return replace(_read_idx_pair(images, labels, split, official), folder=folder)
    csv = folder / f"{split}.csv"
    return replace(_read_kaggle(csv, split), folder=folder) if csv.exists() else None


def _idx_file(folder: Path, name: str) -> Path | None:
    """`name` in `folder`, plain or .gz, also under its older spelling train-images.idx3-ubyte."""
    spellings = (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz")
    return next((folder / s for s in spellings if (folder / s).exists()), None)


def _read_idx_pair(images_file: Path, labels_file: Path, split: str, official: bool) -> Digits:
    images, images_md5 = _read_idx(images_file, 3)
    labels, labels_md5 = _read_idx(labels_file, 1)
    altered = [images_file] * (images_md5 != MD5[f"{PREFIX[split]}-images-idx3-ubyte"])
    altered += [labels_file] * (labels_md5 != MD5[f"{PREFIX[split]}-labels-idx1-ubyte"])
    if official and altered:
        raise DataError(
            f"{altered[0]} is not MNIST's file (its MD5 differs): it was altered. Move it away and load again to fetch "
            f"it anew; to use files of your own, put them in a folder without MNIST/raw."
        )
    if images.shape[1:] != (28, 28):
        raise DataError(f"{images_file} holds images of {images.shape[1]}×{images.shape[2]}; 28×28 is needed.")
    if len(images) != len(labels):
        raise DataError(f"{images_file} holds {len(images):,} images but {labels_file} {len(labels):,} labels.")
    source = f"IDX files in {images_file.parent.name}/ (not MNIST)" if altered else "MNIST"
    return _digits(images, labels, source, split, labels_file)


def _read_idx(file: Path, dimensions: int) -> tuple[np.ndarray, str]:
    """The array in an IDX file, and the MD5 of its bytes.

    IDX: 0, 0, 8 for uint8, the number of dimensions, each as a big-endian uint32, then the bytes.
    """
    size = 4 + 4 * dimensions
    header = _first_bytes(file, size)
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
    content = _first_bytes(file, announced + 1)
    if len(content) != announced:
        there = "more" if len(content) > announced else f"only {len(content):,}"
        raise DataError(
            f"{file} announces {announced:,} bytes in its header and has {there}: "
            f"it is truncated or altered. Move it away and fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=size).reshape(shape), hashlib.md5(content).hexdigest()


def _first_bytes(file: Path, count: int) -> bytes:
    """At most `count` bytes of what `file` holds, unpacked where it is a .gz."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as content:
            return content.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is truncated, altered or not a gzip file. Move it away and fetch it again.") from error


def _read_kaggle(file: Path, split: str) -> Digits:
    """Kaggle's Digit Recognizer: label,pixel0…pixel783 (train.csv) or pixel0…pixel783 (test.csv)."""
    import pandas as pd

    try:
        table = pd.read_csv(file)
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{file} is empty. Fetch it again from Kaggle's Digit Recognizer.") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a CSV table ({error}).") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first of too many columns for row names
        raise DataError(f"{file} has more values in its rows than names in its header: one extra column at least.")
    labelled = "label" in table.columns
    expected = ["label", *PIXELS] if labelled else PIXELS
    missing = [c for c in expected if c not in table.columns]
    extra = list(table.columns.drop(expected, errors="ignore"))
    if missing or extra:
        said = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} too many"] * bool(extra)
        raise DataError(f"{file} {' and '.join(said)}; it needs the columns label (train.csv), pixel0 … pixel783.")
    if split == "train" and not labelled:
        raise DataError(f"{file} has no column label, so nothing can be learned from it.")
    if table.empty:
        raise DataError(f"{file} holds a header and no digits.")
    values = table[expected].apply(_numbers)
    whole = values.notna() & (values % 1 == 0) & values.ge(0) & values.le(255)
    if not whole.to_numpy().all():
        row, column = np.argwhere(~whole.to_numpy())[0]
        raise DataError(
            f"{file}, line {row + 2}, column {expected[column]}: {table.iloc[row][expected[column]]!r} is not a "
            f"whole number in 0…255."
        )
    images = values[PIXELS].to_numpy(np.uint8).reshape(-1, 28, 28)
    labels = values["label"].to_numpy(np.int64) if labelled else None
    return _digits(images, labels, "Kaggle Digit Recognizer", split, file)


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    import pandas as pd

    if pd.api.types.is_any_real_numeric_dtype(column):
        return column
    return pd.to_numeric(column.astype(str), errors="coerce")  # as text: pandas fails on integers beyond floats


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _digits(images: np.ndarray, labels: np.ndarray | None, source: str, split: str, file: Path) -> Digits:
    if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        row = int(np.argmax((labels < 0) | (labels > 9)))
        raise DataError(f"{file}: label {row} is {labels[row]}; labels must lie in 0…9.")
    if len(images) == 0:
        raise DataError(f"{file} holds no digits.")
    truth = None if labels is None else torch.from_numpy(labels.astype(np.int64))
    return Digits(torch.from_numpy(images.copy())[:, None], truth, source, split)


def _downloaded(split: str) -> Digits:
    """MNIST in data/, fetched first where it is missing. Raises OSError where it cannot be fetched.

    torchvision fetches into a folder apart; only files that pass their MD5 are moved to data/MNIST/raw, so
    that a download cut half-way is never read. The next call keeps what is whole and fetches the rest.
    A lock lets several notebooks start at once: one fetches, the others wait.
    """
    import filelock

    folder = home() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".download.lock"):
        if _find_in(folder, split) is None:
            _download(folder)
    return _from_folder(folder, split)


def _download(folder: Path) -> None:
    from torchvision.datasets import MNIST

    partial, raw = folder / ".download", folder / "MNIST" / "raw"
    fetched = {name: partial / "MNIST" / "raw" / name for name in MD5}
    _drop_damaged(fetched)  # torchvision would take a half-unpacked file of an earlier try for a whole one
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision sets none, and a silent network would hang for ever
    try:
        MNIST(partial, download=True)
    except RuntimeError as error:  # torchvision's word for "no mirror answered" and "checksum differs"
        raise OSError(str(error)) from error
    finally:
        socket.setdefaulttimeout(before)
    if damaged := _drop_damaged(fetched):
        raise OSError(f"{', '.join(damaged)} arrived damaged; run again to fetch what is missing")
    raw.mkdir(parents=True, exist_ok=True)
    for name in sorted(fetched, key=lambda name: "images" in name):  # images last: who finds them finds their labels
        os.replace(fetched[name], raw / name)
    shutil.rmtree(partial)


def _drop_damaged(files: dict[str, Path]) -> list[str]:
    """Remove those of our own downloads that are there and not what they should be; return their names."""
    damaged = [n for n, f in files.items() if f.exists() and hashlib.md5(f.read_bytes()).hexdigest() != MD5[n]]
    for name in damaged:
        files[name].unlink()
    return damaged


def _offline(split: str) -> Digits:
    """scikit-learn's 8×8 digits (UCI's, written by 13 people, grey levels 0…16), brought to MNIST's form."""
    from sklearn.datasets import load_digits as sklearn_digits

    bundle = sklearn_digits()
    first, last = {"train": (0, 1437), "test": (1437, 1797)}[split]
    images = torch.stack([centre_in_box(torch.from_numpy(image * 255 / 16)) for image in bundle.images[first:last]])
    return Digits(images[:, None], torch.from_numpy(bundle.target[first:last]), OFFLINE, split)
