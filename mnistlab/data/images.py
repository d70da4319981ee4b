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
from mnistlab.data.digits import TEN, DataError, Digits, NoSplitError, as_images, as_labels, called, numbered
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
    if found is None:
        raise DataError(
            f"{known.title} arrived without its {split} files. Delete {roots[-1] / known.folder}, and try again."
        )
    return _digits(*found, known.title, split, known.classes, known.first, known.transposed)


def _fetch(known: Known, root: Path) -> None:
    """torchvision's download, moved into place when all of it is there."""
    import filelock
    from torchvision import datasets

    root.mkdir(parents=True, exist_ok=True)
    raw, partial = root / known.folder / "raw", root / ".download"
    with filelock.FileLock(root / ".download.lock"), fetching():
        if all(_idx_pair(raw, known.prefix, split) for split in PREFIX):  # another process has just fetched it
            return
        shutil.rmtree(partial / known.folder, ignore_errors=True)  # torchvision would take half a set for a whole one
        options = {"split": known.prefix.split("-")[1]} if known.prefix else {}
        getattr(datasets, known.folder)(partial, download=True, **options)
        raw.mkdir(parents=True, exist_ok=True)
        for file in (partial / known.folder / "raw").iterdir():
            os.replace(file, raw / file.name)
        shutil.rmtree(partial, ignore_errors=True)


def _found(path: Path, split: str, form: files.Form, classes: Sequence[str] | None, transposed: bool | None) -> Digits:
    """From the first form in which `path` holds pictures; DataError where it holds none."""
    if path.is_file():
        return _from_file(path, split, classes, transposed, alone=True)
    if not path.is_dir():
        raise DataError(f"There is no folder or file {path}. Name one, or one of {', '.join(KNOWN)}.")
    if any(
        files.pictures_in(folder) for part in (path, *_parts(path).values()) for folder in files.class_folders(part)
    ):
        return _from_folders(path, split, form, classes)
    if (pair := _pairs(path, split)) is not None:
        arrays = [files.read_idx(file, dimensions)[0] for file, dimensions in zip(pair, (3, 1), strict=True)]
        named = _as_named(pair[0], classes, transposed)
        return _digits(arrays[0], arrays[1], f"IDX files in {path.name}/", split, *named, path)
    for pattern in (f"*{split}*.csv", "*.npz"):
        if (file := next(iter(sorted(path.glob(pattern))), None)) is not None:
            return _from_file(file, split, classes, transposed, alone=False)
    raise NoSplitError(
        f"There are no {split} pictures in {path}: no sub-folders with pictures, no {split}-images-idx3-ubyte with its "
        f"labels, no *{split}*.csv and no *.npz."
    )


def _from_file(file: Path, split: str, classes: Sequence[str] | None, transposed: bool | None, alone: bool) -> Digits:
    """alone: the file was named itself, so a table in it is all there is, and nothing of it is a test split."""
    if file.suffix.lower() == ".npz":
        images, labels = files.read_npz(file, split)
        return _digits(images, labels, file.name, split, *_as_named(file, classes, transposed), file.parent)
    if file.suffix.lower() != ".csv":
        raise DataError(f"{file} is no *.csv and no *.npz. Name a folder of pictures, or one of {', '.join(KNOWN)}.")
    if alone and split == "test":
        raise NoSplitError(f"{file} is one table. Set some of it aside: load_images({str(file)!r}).split(0.15).")
    images, truth = files.read_table(file)
    return _digits(images, truth, file.name, split, *_as_named(file, classes, transposed), file.parent)


def _parts(path: Path) -> dict[str, Path]:
    """The folders of the two splits, where `path` has any, however they are spelled."""
    names = {"train": "train", "training": "train", "test": "test", "testing": "test"}
    return {names[part.name.lower()]: part for part in path.iterdir() if part.is_dir() and part.name.lower() in names}


def _from_folders(path: Path, split: str, form: files.Form, classes: Sequence[str] | None) -> Digits:
    """A folder a class. The folders of the training pictures say which number each class has, in both splits."""
    parts = _parts(path)
    if split not in (parts or ("train",)):
        raise NoSplitError(f'{path} has no folder "{split}". Set some aside: load_images({str(path)!r}).split(0.15).')
    folders = files.class_folders(parts.get(split, path))
    known = [folder.name for folder in files.class_folders(parts.get("train", path))]
    if others := [folder.name for folder in folders if folder.name not in known]:
        raise DataError(f"{parts[split]} holds {', '.join(others)}, and the training pictures have no such folder.")
    if classes is not None and len(classes) != len(known):
        raise DataError(f"{path} holds {len(known)} folders, and {len(classes)} names of classes were given.")
    images, labels, left_out = files.read_folders(folders, form)
    if left_out:
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        warnings.warn(f"{path}: left out {'; '.join(left_out[:5])}{more}.", stacklevel=5)
    numbers = torch.tensor([known.index(folder.name) for folder in folders])
    return Digits(images, numbers[labels], f"{path.name}/", split, tuple(classes or known), path, form)


def _as_named(
    file: Path, classes: Sequence[str] | None, transposed: bool | None
) -> tuple[Sequence[str] | None, int, bool]:
    """What the name of a file tells of it: its classes, the number of the first label, and whether it is transposed."""
    known = next((one for one in KNOWN.values() if one.prefix and file.name.startswith(one.prefix)), None)
    exchanged = file.name.startswith("emnist-") if transposed is None else transposed
    if known is None:
        return classes, 0, exchanged
    return classes or known.classes, known.first, exchanged


def _pairs(folder: Path, split: str) -> tuple[Path, Path] | None:
    """The IDX files of pictures and labels of a split, whatever comes before their names; DataError for several."""
    found = sorted(file for word in {split, PREFIX[split]} for file in folder.glob(f"*{word}-images?idx3-ubyte*"))
    found = [file for file in found if file.suffix != ".gz" or file.with_suffix("") not in found]  # plain beside packed
    if len(found) > 1:
        raise DataError(f"{folder} holds several: {', '.join(file.name for file in found)}. Keep one in a folder.")
    if not found:
        return None
    name = found[0].name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1").replace(".idx", "-idx")
    labels = files.idx_file(folder, name)
    if labels is None:
        raise DataError(f"{found[0]} has no labels beside it ({name}).")
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
    """As Digits; labels that are words become numbers, in the order of `classes` or else of the alphabet."""
    if transposed:
        images = images.swapaxes(1, 2)
    if labels is not None and labels.dtype.kind in "OUS":
        words = labels.astype(str)
        classes = classes or np.unique(words).tolist()
        if not set(words) <= set(classes):
            raise DataError(f"{source} has the label {sorted(set(words) - set(classes))[0]}, which is no class here.")
        labels = np.array([list(classes).index(word) for word in words])
    if labels is not None and classes is None:
        count = int(labels.max()) + 1 if len(labels) else 10
        classes = TEN if count <= 10 else numbered(min(count, 1000))
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
