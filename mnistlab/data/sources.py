"""Where digits come from: MNIST on disk or by download, Kaggle's or IDX files, or scikit-learn's digits offline."""

import hashlib
import os
import shutil
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mnistlab.data import files
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

    Other classes than the ten digits, and pictures in folders, are `load_images`'s.
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
    file = files.idx_file(root / "QMNIST" / "raw", name) or files.idx_file(root.parent / "qmnist", name)
    if file is None:
        return None
    # After a header of 12 bytes, eight numbers a digit: label, series of forms, writer, … What is missing becomes −1.
    size = 8 * 4 * len(digits)  # QMNIST's test set goes on where MNIST's ends
    rows = np.frombuffer(files.first_bytes(file, 12 + size)[12:].ljust(size, b"\xff"), ">i4").reshape(-1, 8)
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
        if images := files.idx_file(raw, f"{PREFIX[split]}-images-idx3-ubyte"):
            labels = files.idx_file(raw, f"{PREFIX[split]}-labels-idx1-ubyte")
            if labels is None:
                raise DataError(f"{images} has no labels beside it ({PREFIX[split]}-labels-idx1-ubyte).")
            return replace(_read_idx_pair(images, labels, split, official), folder=folder)
    csv = folder / f"{split}.csv"
    return replace(_read_kaggle(csv, split), folder=folder) if csv.exists() else None


def _read_idx_pair(images_file: Path, labels_file: Path, split: str, official: bool) -> Digits:
    images, images_md5 = files.read_idx(images_file, 3)
    labels, labels_md5 = files.read_idx(labels_file, 1)
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


def _read_kaggle(file: Path, split: str) -> Digits:
    """Kaggle's Digit Recognizer: label,pixel0…pixel783 (train.csv) or pixel0…pixel783 (test.csv)."""
    images, labels = files.read_table(file)
    if split == "train" and labels is None:
        raise DataError(f"{file} has no column label, so nothing can be learned from it.")
    return _digits(images, labels, "Kaggle Digit Recognizer", split, file)


def _digits(images: np.ndarray, labels: np.ndarray | None, source: str, split: str, file: Path) -> Digits:
    if labels is not None and len(labels) and (wrong := ~np.isin(labels, range(10))).any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{file}: label {row} is {labels[row]}; labels must lie in 0…9. For other classes, take load_images."
        )
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
    with fetching():
        MNIST(partial, download=True)
    if damaged := _drop_damaged(fetched):
        raise OSError(f"{', '.join(damaged)} arrived damaged; run again to fetch what is missing")
    raw.mkdir(parents=True, exist_ok=True)
    for name in sorted(fetched, key=lambda name: "images" in name):  # images last: who finds them finds their labels
        os.replace(fetched[name], raw / name)
    shutil.rmtree(partial)


@contextmanager
def fetching() -> Iterator[None]:
    """Around torchvision's downloads: OSError where one fails, also where nothing comes for half a minute."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision sets none, and a silent network would hang for ever
    try:
        yield
    except RuntimeError as error:  # torchvision's word for "no mirror answered" and "checksum differs"
        raise OSError(str(error)) from error
    finally:
        socket.setdefaulttimeout(before)


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
