"""Small pictures of any classes: Fashion-MNIST and its like by name, and tables, archives and folders of your own."""

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_letters, ascii_uppercase, digits

import numpy as np
import torch

from mnistlab.data import files
from mnistlab.data.digits import TEN, DataError, Digits, as_images, as_labels, called
from mnistlab.data.sources import PREFIX, WHOLE, fetching
from mnistlab.paths import home


@dataclass(frozen=True)
class Known:
    """A set of pictures that torchvision can fetch.

    title: its name.  folder: torchvision's name for it.  classes: in the order of the labels, which begin at `first`.
    prefix: begins the names of its files.  transposed: rows and columns are exchanged in its files.
    """

    title: str
    folder: str
    classes: tuple[str, ...]
    prefix: str = ""
    first: int = 0
    transposed: bool = False


SHIRTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CHARACTERS = (*digits, *ascii_uppercase, *ascii_letters[:26])
KNOWN = {
    "fashion-mnist": Known("Fashion-MNIST", "FashionMNIST", SHIRTS),
    "kmnist": Known("KMNIST", "KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
    "emnist-letters": Known("EMNIST letters", "EMNIST", tuple(ascii_uppercase), "emnist-letters-", 1, True),
    "emnist-digits": Known("EMNIST digits", "EMNIST", TEN, "emnist-digits-", 0, True),
    "emnist-balanced": Known(
        "EMNIST balanced", "EMNIST", (*digits, *ascii_uppercase, *"abdefghnqrt"), "emnist-balanced-", 0, True
    ),
    "emnist-byclass": Known("EMNIST by class", "EMNIST", CHARACTERS, "emnist-byclass-", 0, True),
}


def load_images(
    source: str | Path,
    split: str = "train",
    *,
    form: files.Form = "mnist",
    classes: Sequence[str] | None = None,
    transposed: bool | None = None,
) -> Digits:
    """Labelled pictures of 28×28 of one split, "train" or "test"; the names of their classes travel with them.

    source:
      a name    "fashion-mnist", "kmnist", "emnist-letters", "emnist-digits", "emnist-balanced" or "emnist-byclass":
                from data/ or MNISTLAB_DATA, where torchvision puts them, or by torchvision's download.
      a folder  with a sub-folder of pictures for each class, perhaps inside train/ and test/; or with IDX or CSV
                files that have "train" and "test" in their names; or with an archive such as mnist.npz.
      a file    *.csv (label,pixel0…783; label,pixel1…784; label,1x1…28x28; or no header) or *.npz (x_train, y_train).
    form: how pictures in folders become 28×28: "mnist" finds the ink and brings it to MNIST's size and place, so that
      drawings and photographs of them look as MNIST's digits do; "plain" shrinks each as it is, light on dark.
    classes: the names, where labels are numbers; by default the numbers, or what the folders are called.
    transposed: whether rows and columns are exchanged, as in EMNIST's files; by default the names of the files tell.
    Raises DataError, which names the file and the remedy. What had to be left out is said in a warning.
    """
    if split not in PREFIX:
        raise DataError(f'There is no split "{split}"; take "train" or "test".')
    if form not in ("mnist", "plain"):
        raise DataError(f'There is no form "{form}"; take "mnist" or "plain".')
    if isinstance(source, str) and source in KNOWN:
        return _known(KNOWN[source], split)
    path = Path(source).expanduser()
    try:
        found = _found(path, split, form, classes, transposed)
    except PermissionError as error:
        raise DataError(f"No permission to read {error.filename}. Allow it, or choose another folder.") from error
    if found.md5 in WHOLE:
        found = replace(found, source="MNIST")
    _look_at_the_ones(found)
    return found


def _known(known: Known, split: str) -> Digits:
    chosen = os.environ.get("MNISTLAB_DATA", "offline")
    roots = [home() / "data"] if chosen == "offline" else [home() / Path(chosen).expanduser(), home() / "data"]
    for root in roots:
        if (found := _idx_pair(root / known.folder / "raw", known.prefix, split)) is not None:
            return _digits(*found, known.title, split, known.classes, known.first, known.transposed)
    if chosen == "offline" and "MNISTLAB_DATA" in os.environ:
        raise DataError(f"{known.title} is not in {roots[0]}, and MNISTLAB_DATA=offline forbids a download.")
    try:
        _fetch(known, roots[-1])
    except OSError as error:
        raise DataError(
            f"{known.title} could not be fetched ({str(error).strip().splitlines()[0]}). Connect once and try again, "
            f"or put torchvision's {known.folder}/raw into {roots[-1]}."
        ) from error
    found = _idx_pair(roots[-1] / known.folder / "raw", known.prefix, split)
    assert found is not None, "torchvision fetched other files than it used to"
    return _digits(*found, known.title, split, known.classes, known.first, known.transposed)


def _fetch(known: Known, root: Path) -> None:
    """torchvision's download, moved into place when all of it is there."""
    import filelock
    from torchvision import datasets

    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(root / ".download.lock"), fetching():
        partial = root / ".download"
        options = {"split": known.prefix.split("-")[1]} if known.prefix else {}
        getattr(datasets, known.folder)(partial, download=True, **options)
        if not (root / known.folder).exists():
            os.replace(partial / known.folder, root / known.folder)
        shutil.rmtree(partial, ignore_errors=True)


def _found(path: Path, split: str, form: files.Form, classes: Sequence[str] | None, transposed: bool | None) -> Digits:
    """From the first form in which `path` holds pictures; DataError where it holds none."""
    if path.is_file():
        return _from_file(path, split, classes, transposed, alone=True)
    if not path.is_dir():
        raise DataError(f"There is no folder or file {path}. Name one, or one of {', '.join(KNOWN)}.")
    inner = {name: path / name for name in ("train", "test") if (path / name).is_dir()}
    folders = files.class_folders(inner.get(split, path)) if split in inner or not inner else []
    if folders and not _pairs(path, split):
        if split == "test" and not inner:
            raise DataError(f'{path} has no folder "test". Set some aside: load_images({str(path)!r}).split(0.15).')
        images, labels, left_out = files.read_folders(folders, form)
        if left_out:
            more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
            warnings.warn(f"{path}: left out {'; '.join(left_out[:5])}{more}.", stacklevel=4)
        folder_names = tuple(classes or (folder.name for folder in folders))
        return Digits(images, labels, f"{path.name}/", split, folder_names, path)
    if (pair := _pairs(path, split)) is not None:
        arrays = [files.read_idx(file, dimensions)[0] for file, dimensions in zip(pair, (3, 1), strict=True)]
        known = next((one for one in KNOWN.values() if one.prefix and pair[0].name.startswith(one.prefix)), None)
        exchanged = known is not None if transposed is None else transposed
        first, names = 0, classes
        if known is not None and classes is None:
            first, names = known.first, known.classes
        return _digits(arrays[0], arrays[1], f"IDX files in {path.name}/", split, names, first, exchanged, path)
    for pattern in (f"*{split}*.csv", "*.npz"):
        if (file := next(iter(sorted(path.glob(pattern))), None)) is not None:
            return _from_file(file, split, classes, transposed, alone=False)
    raise DataError(
        f"There are no {split} pictures in {path}: no sub-folders with pictures, no {split}-images-idx3-ubyte with its "
        f"labels, no *{split}*.csv and no *.npz."
    )


def _from_file(file: Path, split: str, classes: Sequence[str] | None, transposed: bool | None, alone: bool) -> Digits:
    """alone: the file was named itself, so a table in it is all there is, and nothing of it is a test split."""
    if file.suffix.lower() == ".npz":
        images, labels = files.read_npz(file, split)
        return _digits(images, labels, file.name, split, classes, 0, bool(transposed), file.parent)
    if file.suffix.lower() != ".csv":
        raise DataError(f"{file} is no *.csv and no *.npz. Name a folder of pictures, or one of {', '.join(KNOWN)}.")
    if alone and split == "test" and "test" not in file.name:
        raise DataError(f"{file} is one table. Set some of it aside: load_images({str(file)!r}).split(0.15).")
    table = files.read_table(file)
    return _digits(*table, file.name, split, classes, 0, bool(transposed), file.parent)


def _pairs(folder: Path, split: str) -> tuple[Path, Path] | None:
    """The IDX files of pictures and labels of a split, whatever comes before their names; DataError for several."""
    found = sorted(file for word in {split, PREFIX[split]} for file in folder.glob(f"*{word}-images?idx3-ubyte*"))
    if len(found) > 1:
        raise DataError(f"{folder} holds several: {', '.join(file.name for file in found)}. Keep one in a folder.")
    if not found:
        return None
    labels = found[0].with_name(found[0].name.replace("images", "labels").replace("idx3", "idx1"))
    if not labels.exists():
        raise DataError(f"{found[0]} has no labels beside it ({labels.name}).")
    return found[0], labels


def _idx_pair(folder: Path, prefix: str, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The arrays of a set that torchvision has fetched into `folder`; None where it has not."""
    word = split if prefix else PREFIX[split]
    images = files.idx_file(folder, f"{prefix}{word}-images-idx3-ubyte")
    labels = files.idx_file(folder, f"{prefix}{word}-labels-idx1-ubyte")
    if images is None or labels is None:
        return None
    return files.read_idx(images, 3)[0], files.read_idx(labels, 1)[0]


def _digits(
    images: np.ndarray,
    labels: np.ndarray | None,
    source: str,
    split: str,
    classes: Sequence[str] | None,
    first: int = 0,
    transposed: bool = False,
    folder: Path | None = None,
) -> Digits:
    """As Digits; labels that are words become numbers, in the order of the alphabet."""
    if transposed:
        images = images.swapaxes(1, 2)
    if labels is not None and labels.dtype.kind in "OUS":
        words, labels = np.unique(labels.astype(str), return_inverse=True)
        classes = classes or words.tolist()
    if labels is not None and classes is None:
        count = int(labels.max()) + 1 if len(labels) else 10
        classes = TEN if count <= 10 else [str(label) for label in range(min(count, 1000))]
    truth = None if labels is None else as_labels(labels) - first
    if truth is not None and truth.shape != (len(images),):
        raise DataError(
            f"{source} holds {len(images):,} images but {len(truth):,} labels: they do not belong together."
        )
    return Digits(as_images(images.copy()), truth, source, split, tuple(classes or TEN), folder)


def _look_at_the_ones(found: Digits) -> None:
    """A warning where digits lie on their side: ones are taller than wide, and EMNIST's files exchange that."""
    if found.labels is None or called(found.classes) != "digits" or "1" not in found.classes:
        return
    ink = found.images[found.labels == found.classes.index("1"), 0].double()
    if len(ink) < 10:
        return
    places = torch.arange(28, dtype=torch.float64)
    spreads = []
    for profile in (ink.sum((0, 2)), ink.sum((0, 1))):  # along the rows, along the columns
        mean = (profile * places).sum() / profile.sum()
        spreads.append(float((profile * (places - mean) ** 2).sum() / profile.sum()))
    if spreads[1] > 1.2 * spreads[0]:
        warnings.warn(
            f"The ones of {found.source} lie on their side, so rows and columns seem exchanged, as in EMNIST's files. "
            f"load_images(…, transposed=True) turns them.",
            stacklevel=3,
        )
