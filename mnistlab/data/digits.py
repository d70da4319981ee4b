"""Digits, the noun that everything else takes: images, labels, and where they came from."""

import hashlib
import operator
from collections.abc import Iterator
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


@dataclass(frozen=True, eq=False)
class Digits:
    """Handwritten digits, all in memory, on one device.

    images: (N, 1, 28, 28) uint8, ink 255 on paper 0.  labels: (N,) int64, or None where nobody gave them (Kaggle's
    test.csv).  source: what they are, in words that a figure's caption can carry.  classes: the name of each label,
    from 0 up.  folder: where their files lie, or None for digits that were made.
    """

    images: UInt8[Tensor, "n 1 28 28"]
    labels: Int64[Tensor, " n"] | None
    source: str
    split_name: str = ""
    classes: tuple[str, ...] = tuple("0123456789")
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (1, 28, 28):
            raise DataError(
                f"Images must be uint8 of shape (N, 1, 28, 28); these are {self.images.dtype} of shape "
                f"{tuple(self.images.shape)}."
            )
        if self.labels is None:
            return
        if self.labels.dtype != torch.int64:
            raise DataError(f"Labels must be int64; these are {self.labels.dtype}.")
        if self.labels.shape != (len(self.images),):
            raise DataError(f"{len(self.images)} images but {len(self.labels)} labels: they do not belong together.")
        last = len(self.classes) - 1
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) <= last:
            raise DataError(f"Labels must lie in 0…{last}; these run from {self.labels.min()} to {self.labels.max()}.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: SupportsIndex | slice | Tensor) -> "Digits":
        """A smaller Digits: of one digit, a slice, an index tensor or a boolean mask."""
        if not isinstance(index, slice) and not (isinstance(index, Tensor) and index.ndim):
            index = operator.index(index)
            if not -len(self) <= index < len(self):
                raise IndexError(f"There is no digit {index} among {len(self):,}.")
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        labels = None if self.labels is None else self.labels[index]
        return replace(self, images=self.images[index], labels=labels)

    def __repr__(self) -> str:
        split = f", {self.split_name}" if self.split_name else ""
        labels = ", without labels" if self.labels is None else ""
        return f"{len(self):,} digits{labels} · {self.source}{split}"

    def known_labels(self, purpose: str) -> Int64[Tensor, " n"]:
        """(N,) int64. DataError where nobody gave them, since without them these digits cannot `purpose`."""
        if self.labels is None:
            raise DataError(f"Digits without labels cannot {purpose}; take a split that has them.")
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
            what = "every class" if groups is None else "these groups"
            raise DataError(f"{len(self)} digits are too few to set {fraction:.0%} of {what} aside.") from error
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

    Floats are taken as grey levels in 0…255 too, as `augment` leaves them.
    """
    return (images.float() - 255 * MEAN) / (255 * STD)
