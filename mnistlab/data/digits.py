"""Digits, the noun that everything else takes: images, labels, their names, and where they came from."""

import hashlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped, UInt8
from numpy.typing import ArrayLike
from torch import Tensor

MEAN, STD = 0.1306604763, 0.3081078039  # of the 60,000 training images, pixels in 0…1


class DataError(ValueError):
    """Digits could not be read; the message names the file and the remedy."""


class NoSplitError(DataError):
    """There are pictures, but none of the split that was asked for."""


TEN = tuple("0123456789")


@dataclass(frozen=True, eq=False)
class Digits:
    """Handwritten digits, or other small pictures of known classes, all in memory, on one device.

    images: (N, 1, 28, 28) uint8, ink 255 on paper 0.  labels: (N,) int64, or None where nobody gave them (Kaggle's
    test.csv).  source: what they are, in words that a figure's caption can carry.  classes: the name of each label,
    from 0 up.  folder: where their files lie, or None for digits that were made.  form: "mnist" where each was brought
    to MNIST's size and place, "plain" where pictures were only shrunk.
    NumPy arrays and lists become tensors. DataError, with the remedy, for what is in another form.
    """

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"] | None
    source: str
    split_name: str = ""
    classes: tuple[str, ...] = TEN
    folder: Path | None = None
    form: str = "mnist"

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", as_images(self.images))
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        if not 2 <= len(set(self.classes)) == len(self.classes):
            raise DataError(f"At least two classes are needed, each with a name of its own, not {self.classes}.")
        if self.labels is None:
            return
        object.__setattr__(self, "labels", as_labels(self.labels))
        if self.labels.shape != (len(self.images),):
            raise DataError(f"{len(self.images)} images but {len(self.labels)} labels: they do not belong together.")
        last = len(self.classes) - 1
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) <= last:
            raise DataError(
                f"Labels must lie in 0…{last}; these run from {self.labels.min()} to {self.labels.max()}. "
                f"Other classes need names: Digits(images, labels, source, classes=[…])."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex | slice | Tensor) -> "Digits":
        """A smaller Digits: of one digit, a slice, an index tensor or a boolean mask."""
        if not isinstance(index, slice) and not (isinstance(index, Tensor) and index.ndim):
            index = operator.index(index)
            if not -len(self) <= index < len(self):
                raise IndexError(f"There is no {self.what[:-1]} {index} among {len(self):,} {self.what}.")
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, images=self.images[index], labels=labels)

    def __repr__(self) -> str:
        split = f", {self.split_name}" if self.split_name else ""
        labels = ", without labels" if self.labels is None else ""
        return f"{len(self):,} {self.what}{labels} · {self.source}{split}"

    @property
    def what(self) -> str:
        """What to call them: digits where each class is one, else pictures."""
        return called(self.classes)

    @property
    def names(self) -> list[str]:
        """(N,) the name of each one's class. DataError where there are no labels."""
        return [self.classes[label] for label in self.known_labels("be named").tolist()]

    def known_labels(self, purpose: str) -> Int64[Tensor, " n"]:
        """(N,) int64. DataError where nobody gave them, since without them these digits cannot `purpose`."""
        if self.labels is None:
            raise DataError(f"{self.what.capitalize()} without labels cannot {purpose}; take a split that has them.")
        return self.labels

    @property
    def is_mnist(self) -> bool:
        """True for the official MNIST files, checked by MD5."""
        return self.source == "MNIST"

    @cached_property
    def md5(self) -> str:
        """MD5 of the image bytes followed by the label bytes: the identity of exactly these digits."""
        digest = hashlib.md5(self.images.cpu().numpy().tobytes())
        if self.labels is not None:
            digest.update(self.labels.cpu().numpy().astype(np.uint8).tobytes())
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> "Digits":
        """The same digits on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return replace(self, images=self.images.to(device), labels=labels)

    def split(
        self, fraction: float = 0.15, seed: int = 0, groups: ArrayLike | None = None
    ) -> tuple["Digits", "Digits"]:
        """Part into (rest, `fraction` of it): every digit class keeps its share in both, at random by `seed`.

        groups: (N,) to whom each digit belongs, such as its writer. `fraction` of the groups is then set aside,
        each with all its digits, so that none is in both parts; the classes keep their shares about.

        >>> images, labels = torch.zeros(100, 1, 28, 28, dtype=torch.uint8), torch.arange(100) % 10
        >>> train, val = Digits(images=images, labels=labels, source="blank paper").split(0.2, seed=0)
        >>> len(train), len(val), val.labels.bincount().tolist()
        (80, 20, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
        """
        if not 0 < fraction < 1:
            raise DataError(f"The part to set aside must lie between 0 and 1, not {fraction}.")
        from sklearn.model_selection import GroupShuffleSplit, train_test_split

        labels, numbers = self.known_labels("be split by class").cpu().numpy(), np.arange(len(self))
        try:
            if groups is None:
                rest, aside = train_test_split(numbers, test_size=fraction, random_state=seed, stratify=labels)
            else:
                shuffle = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
                rest, aside = next(shuffle.split(numbers, groups=groups))
        except ValueError as error:
            of = "every class" if groups is None else "these groups"
            raise DataError(f"{len(self)} {self.what} are too few to set {fraction:.0%} of {of} aside.") from error
        device = self.images.device
        train, val = (
            replace(
                self[torch.from_numpy(np.sort(index)).to(device)],
                split_name=f"{share:.0%} of {self.split_name}",
            )
            for index, share in ((rest, 1 - fraction), (aside, fraction))
        )
        return train, val

    def batches(self, batch_size: int, generator: torch.Generator | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) of at most `batch_size`, each digit once: in order, or shuffled by `generator`.

        Nothing is copied but the batch itself: an index picks the rows where they lie, on the device.
        """
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        labels = self.known_labels("teach")
        for index in order.to(self.images.device).split(batch_size):
            yield self.images[index], labels[index]


def normalise(images: Shaped[Tensor, "n 1 h w"]) -> Float32[Tensor, "n 1 h w"]:
    """(N, 1, 28, 28) uint8 → (N, 1, 28, 28) float32 with mean 0 and std 1 over MNIST's training set.

    Floats must be grey levels in 0…255 too, as `augment` leaves them; DataError for those that run from 0 to 1, as
    torchvision's ToTensor gives them, and for those that are normalised already.
    """
    if images.is_floating_point():
        _check_levels(images)
    return standardised(images)


def standardised(images: Shaped[Tensor, "n 1 h w"]) -> Float32[Tensor, "n 1 h w"]:
    """As `normalise`, without a look at what is given, for which a GPU would have to wait."""
    return (images.float() - 255 * MEAN) / (255 * STD)


def numbered(count: int) -> tuple[str, ...]:
    """The names of classes that nobody has named: their numbers."""
    return tuple(map(str, range(count)))


def called(classes: Sequence[str]) -> str:
    """What pictures of these classes are called."""
    return "digits" if set(classes) <= set(TEN) else "pictures"


def _check_levels(images: Tensor) -> None:
    low, high = (float(images.min()), float(images.max())) if images.numel() else (0.0, 255.0)
    if low < 0:
        raise DataError(
            f"These numbers run from {low:.2g} to {high:.2g}, as if they were normalised already; grey levels run from "
            f"0 to 255. Give the pictures as they were before, or call the network itself: model(images)."
        )
    if 0 < high <= 1:
        raise DataError("These numbers run from 0 to 1; grey levels run from 0 to 255. Multiply them by 255.")


def as_images(given: ArrayLike | Tensor) -> Tensor:
    """As uint8 of shape (N, 1, 28, 28); DataError, with the remedy, for what is in another form."""
    try:
        images = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(given))
    except (TypeError, ValueError) as error:
        raise DataError(f"Images must be one array of shape (N, 28, 28); these are not ({error}).") from error
    images = images[:, None] if images.ndim == 3 else images
    if images.shape[1:] != (1, 28, 28):
        raise DataError(
            f"Images must be uint8 of shape (N, 1, 28, 28); these are {images.dtype} of shape {tuple(images.shape)}. "
            f"to_mnist brings pictures of any size into that form."
        )
    if images.layout != torch.strided or images.is_meta or images.is_quantized:
        raise DataError("Images must be an ordinary tensor, with every number in memory, such as images.to_dense().")
    if images.dtype == torch.uint8:
        return images
    if images.is_floating_point():
        _check_levels(images)
    levels = images.round().to(torch.uint8)
    if images.is_complex() or not torch.equal(levels.to(images.dtype), images):
        raise DataError(f"Grey levels must be whole numbers in 0…255; these are {images.dtype}, and some are not.")
    return levels


def as_labels(given: ArrayLike | Tensor) -> Tensor:
    """As int64; DataError for what are no whole numbers."""
    array = given if isinstance(given, Tensor) else np.array(given)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "iufb":
        raise DataError(f"Labels must be whole numbers; these are {array.dtype}. Number them, and give their classes.")
    labels = torch.as_tensor(array)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"Labels must be whole numbers, such as int64; these are {labels.dtype}.")
    return labels.to(torch.int64)
