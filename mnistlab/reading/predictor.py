"""A picture, or a folder of them → which digit it is, how sure that is, and when it is better not to answer."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from mnistlab.analysis.predictions import CLASSES, Predictions
from mnistlab.data.digits import normalise
from mnistlab.networks.layers import folded
from mnistlab.paths import home
from mnistlab.reading.picture import Picture, PictureError, Preparation, prepare, to_mnist
from mnistlab.runs import Run, load

__all__ = ["Picture", "PictureError", "Prediction", "Predictor", "Preparation", "prepare", "to_mnist"]

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
DOUBT = 0.9  # a confidence below it is said aloud
BATCH = 256


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says of one digit.

    digit: 0…9, or None where no ink was found.  confidence: the largest probability.  margin: largest minus second.
    probabilities: (10,).  image: (1, 28, 28) uint8, what the network was shown.
    warning: why the answer should not be trusted, in plain words; empty where nothing speaks against it.
    """

    digit: int | None
    confidence: float
    margin: float
    probabilities: Tensor
    image: Tensor
    warning: str = ""

    def __str__(self) -> str:
        said = "no digit" if self.digit is None else f"{self.digit} ({self.confidence:.1%} sure)"
        return f"{said}. {self.warning}" if self.warning else said


class Predictor:
    """Reads pictures with a trained network.

    run: its network is folded for speed and left as it was; its `temperature` makes confidences mean what they say.
    Where it has `familiar`, a picture that looks unlike the digits the network learned from gets a warning.
    """

    def __init__(self, run: Run) -> None:
        layers = folded(run.model) if isinstance(run.model, nn.Sequential) else nn.Sequential(run.model, nn.Identity())
        layers = layers.eval().to(memory_format=torch.channels_last)
        self.features, self.last = layers[:-1], layers[-1]
        self.temperature, self.familiar = run.temperature, run.familiar

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Predictor":
        """With the checkpoint at `path`, or models/reader.safetensors, which learned from more hands than MNIST's."""
        return cls(load(path or home() / "models" / "reader.safetensors"))

    def predict(self, picture: Picture | Iterable[str | Path]) -> Prediction | Predictions:
        """The digit on a picture; or, for a folder, a pattern such as "scans/*.png" or a list of such names, all.

        Of several digits on one picture the largest is taken, and a warning says so. Raises PictureError where a
        single picture cannot be read; among many files, a bad one becomes a row that says why.
        """
        if isinstance(picture, str | Path):
            files = _files(picture)
            return self._single(prepare(picture)) if files is None else self._many(files)
        if isinstance(picture, list | tuple):
            if not picture:
                raise PictureError("The list names no picture.")
            if strangers := [type(name).__name__ for name in picture if not isinstance(name, str | Path)]:
                raise PictureError(f"A list names files, and a {strangers[0]} is no name. Give one picture at a time.")
            return self._many([file for name in picture for file in _files(name) or [Path(name)]])
        return self._single(prepare(picture))

    def read(self, picture: Picture) -> list[Prediction]:
        """Every digit on a picture, left to right; an empty list for blank paper."""
        prepared = prepare(picture)
        return self._predictions(prepared.digits) if len(prepared.digits) else []

    def logits(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) uint8 → (N, 10)."""
        return self._judged(images)[0]

    def _judged(self, images: Tensor) -> tuple[Tensor, list[bool]]:
        """Logits (N, 10), and of each image whether it looks unlike the digits that the network knows."""
        with torch.inference_mode():
            batches = (normalise(batch).contiguous(memory_format=torch.channels_last) for batch in images.split(BATCH))
            features = torch.cat([self.features(batch) for batch in batches])
            if self.familiar is None:
                return self.last(features), [False] * len(images)
            return self.last(features), (self.familiar.distance(features) > self.familiar.limit).tolist()

    def _single(self, prepared: Preparation) -> Prediction:
        count = len(prepared.digits)
        if count == 0:
            blank = torch.zeros(1, 28, 28, dtype=torch.uint8)
            return Prediction(None, 0.0, 0.0, torch.full((10,), 0.1), blank, _warning(0, False, 0.0))
        return self._predictions(prepared.digits[prepared.subject][None], count)[0]

    def _predictions(self, images: Tensor, count: int = 1) -> list[Prediction]:
        logits, strange = self._judged(images)
        table = Predictions.of(logits, temperature=self.temperature).table
        return [
            Prediction(
                int(row["prediction"]),
                float(row["confidence"]),
                float(row["margin"]),
                torch.tensor(row[CLASSES].to_numpy(float)),
                image,
                _warning(count, odd, float(row["confidence"])),
            )
            for (_, row), image, odd in zip(table.iterrows(), images, strange, strict=True)
        ]

    def _many(self, files: list[Path]) -> Predictions:
        batches = [files[first : first + BATCH] for first in range(0, len(files), BATCH)]
        tables = []
        with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(files), unit="picture", disable=None) as bar:
            coming = pool.map(_prepared, batches[0])
            for batch, after in zip_longest(batches, batches[1:], fillvalue=[]):
                prepared, coming = list(coming), pool.map(_prepared, after)  # the next are read while these are judged
                tables.append(self._table(batch, prepared))
                bar.update(len(batch))
        return Predictions(pd.concat(tables, ignore_index=True), f"{len(files):,} pictures")

    def _table(self, files: list[Path], prepared: list[Preparation | str]) -> pd.DataFrame:
        blank = torch.zeros(1, 28, 28, dtype=torch.uint8)
        counts = [0 if isinstance(one, str) else len(one.digits) for one in prepared]
        images = [one.digits[one.subject] if n else blank for one, n in zip(prepared, counts, strict=True)]
        logits, strange = self._judged(torch.stack(images))
        table = Predictions.of(logits, temperature=self.temperature).table
        table.insert(0, "file", [str(file) for file in files])
        table["warning"] = [_warning(*said) for said in zip(counts, strange, table["confidence"], strict=True)]
        table["error"] = [one if isinstance(one, str) else "" for one in prepared]
        table.loc[[n == 0 for n in counts], ["prediction", "confidence", "margin", *CLASSES]] = pd.NA
        table.loc[table["error"] != "", "warning"] = ""
        return table


def _warning(count: int, strange: bool, confidence: float) -> str:
    if count == 0:
        return "There is no ink to be seen on this picture."
    said = []
    if strange:
        said.append("This looks unlike the digits that the network has learned; it may be none.")
    if confidence < DOUBT:
        said.append(f"The network is only {confidence:.0%} sure: it may be another digit, or none.")
    if count > 1:
        said.append(
            f"There are {count} things like digits here, and this is the largest; read() reads them one by one."
        )
    return " ".join(said)


def _files(name: str | Path) -> list[Path] | None:
    """The pictures that a folder or a pattern names, in order of their names; None for a single file."""
    path = Path(name)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError:  # as of a name that is too long for any file
        return None
    if is_folder:
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        remedy = f"Put some there, named *{', *'.join(sorted(SUFFIXES))}."
    elif set(str(name)) & set("*?[") and not exists:
        files = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        remedy = "Change the pattern, or name a folder."
    else:
        return None
    if not files:
        raise PictureError(f"There is no picture in {name}. {remedy}")
    return files


def _prepared(file: Path) -> Preparation | str:
    try:
        return prepare(file)
    except PictureError as error:
        return str(error)
