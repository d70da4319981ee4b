"""A picture, or a folder of them → which digit it is, how sure that is, and when it is better not to answer."""

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnistlab.analysis.predictions import DOUBT, Predictions
from mnistlab.data.digits import TEN, called, normalise, numbered
from mnistlab.networks.inference import lay_out, rows
from mnistlab.networks.layers import folded, in_a_row
from mnistlab.paths import shipped
from mnistlab.reading.picture import SUFFIXES, Picture, PictureError, Preparation, prepare, shrunk
from mnistlab.runs import Run, load

if TYPE_CHECKING:
    import pandas as pd

BATCH = 256


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says of one digit.

    digit: 0…9, or None where no ink was found.  confidence: the largest probability.  margin: largest minus second.
    probabilities: (10,).  image: (1, 28, 28) uint8, what the network was shown.
    warning: why the answer should not be trusted, in plain words; empty where nothing speaks against it.
    classes: the names of the classes; `digit` is the number of one of them, and `name` its name.
    strange: whether it looks unlike what the network has learned.
    """

    digit: int | None
    confidence: float
    margin: float
    probabilities: Tensor
    image: Tensor
    warning: str = ""
    classes: tuple[str, ...] = TEN
    strange: bool = False

    @property
    def name(self) -> str | None:
        """What the picture is read as, in words; None where no ink was found."""
        return None if self.digit is None else self.classes[self.digit]

    def __str__(self) -> str:
        what = called(self.classes)[:-1]
        said = f"no {what}" if self.digit is None else f"{self.name} ({self.confidence:.1%} sure)"
        if self.strange:
            said = f"perhaps no {what}; if it is one, {said}"
        return f"{said}. {self.warning}" if self.warning else said


class Stopped(KeyboardInterrupt):
    """Ctrl-C while many pictures were being read; `so_far` holds the predictions of those that were finished."""

    def __init__(self, so_far: Predictions, count: int) -> None:
        super().__init__(f"Stopped after {len(so_far):,} of {count:,} pictures.")
        self.so_far = so_far


class Predictor:
    """Reads pictures with a trained network.

    run: it is left as it is; a copy of its network reads, folded for speed where its layers stand in a row. Its
    `temperature` makes confidences mean what they say. Where it has `familiar`, a picture that looks unlike the digits
    the network learned from gets a warning.
    """

    def __init__(self, run: Run) -> None:
        network = folded(run.model) if in_a_row(run.model) else deepcopy(run.model).eval()
        self.layout = lay_out(network)
        row = network if in_a_row(network) else nn.Sequential(network, nn.Identity())
        self.features, self.last = row[:-1], row[-1]
        self.network, self.temperature, self.familiar = type(run.model).__name__, run.temperature, run.familiar
        outputs = self.logits(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape[1]
        self.plain = run.data.get("form") == "plain"
        self.classes = run.classes if len(run.classes) == outputs else numbered(outputs)

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Predictor":
        """With the checkpoint at `path`, or the one that comes with mnistlab and knows more hands than MNIST's."""
        return cls(load(path or shipped("reader")))

    def __repr__(self) -> str:
        what = called(self.classes)[:-1]
        warns = f"warns of what is no {what}" if self.familiar else f"takes everything for a {what}"
        return f"Predictor: {self.network}, temperature {self.temperature:.3g}, {warns}"

    def prepare(self, picture: Picture) -> Preparation:
        """A picture as the network learned pictures: in MNIST's form, or only shrunk, where it learned from such.

        Raises PictureError as `predict` does.
        """
        if isinstance(picture, str | Path) and _is_many(picture):
            said = f"{picture} is not one picture; predict_all({str(picture)!r}) reads folders and patterns."
            raise PictureError(said)
        if not self.plain:
            return prepare(picture)
        small = shrunk(picture)
        return Preparation({"28×28": small[0].numpy() / 255}, small[None], 0)

    def predict(self, picture: Picture) -> Prediction:
        """The digit on a picture; of several the largest, with a warning that there are more.

        picture: a file's name or its bytes, a Pillow image, an array or a tensor, as for `to_mnist`.
        Raises PictureError where it cannot be read, and for a folder or a pattern, which `predict_all` reads.
        """
        return self.judge(self.prepare(picture))

    def read(self, picture: Picture) -> list[Prediction]:
        """Every digit on a picture, left to right; an empty list for blank paper. It takes what `predict` takes."""
        prepared = self.prepare(picture)
        return self._predictions(prepared.digits) if len(prepared.digits) else []

    def predict_all(self, files: str | Path | Iterable[str | Path]) -> Predictions:
        """The digits in many files, one row each, in the order of their names.

        files: a folder, a pattern such as "scans/*.png", or any iterable of files, folders and patterns.
        A file that cannot be read becomes a row that says why. Raises PictureError where there is nothing to read,
        and Stopped, which holds what was read so far, at Ctrl-C.
        """
        names = [files] if isinstance(files, str | Path) else list(files) if isinstance(files, Iterable) else None
        if names is None or not all(isinstance(name, str | Path) for name in names):
            raise PictureError("predict_all takes the names of files; give one picture at a time to predict.")
        if not names:
            raise PictureError("There is nothing to read: the list names no picture.")
        return self._many([file for name in names for file in _files(name)])

    def judge(self, prepared: Preparation) -> Prediction:
        """As `predict`, of a picture that `prepare` has brought into MNIST's form."""
        count = len(prepared.digits)
        if count == 0:
            blank, even = torch.zeros(1, 28, 28, dtype=torch.uint8), torch.full((len(self.classes),), 1.0)
            return Prediction(None, 0.0, 0.0, even / len(even), blank, self._warning(0, False, 0.0), self.classes)
        return self._predictions(prepared.digits[prepared.subject][None], count)[0]

    def logits(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) uint8 → (N, C)."""
        return self._judged(images)[0]

    def _judged(self, images: Tensor) -> tuple[Tensor, list[bool]]:
        """Logits (N, C), and of each image whether it looks unlike the digits that the network knows."""
        with torch.inference_mode():
            batches = (normalise(batch).contiguous(memory_format=self.layout) for batch in images.split(BATCH))
            if self.familiar is None:
                found = torch.cat([rows(self.network, self.last(self.features(batch))) for batch in batches])
                return found, [False] * len(images)
            features = torch.cat([self.features(batch) for batch in batches])
            return self.last(features), (self.familiar.distance(features) > self.familiar.limit).tolist()

    def _predictions(self, images: Tensor, count: int = 1) -> list[Prediction]:
        logits, strange = self._judged(images)
        probabilities = (logits.double() / self.temperature).softmax(1)
        predictions = []
        for chances, image, odd in zip(probabilities, images, strange, strict=True):
            (first, second), digits = chances.topk(2)
            confidence, margin = float(first), float(first - second)
            warning = self._warning(count, odd, confidence)
            found = Prediction(int(digits[0]), confidence, margin, chances, image, warning, self.classes, odd)
            predictions.append(found)
        return predictions

    def _many(self, files: list[Path]) -> Predictions:
        import pandas as pd
        from tqdm import tqdm

        batches = [files[first : first + BATCH] for first in range(0, len(files), BATCH)]
        nothing: list[Path] = []
        tables: list[pd.DataFrame] = []

        def so_far() -> Predictions:
            table = pd.concat(tables, ignore_index=True)
            return Predictions(table, f"{len(table):,} pictures", self.classes)

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            with tqdm(total=len(files), unit="picture", disable=None) as bar:
                coming = pool.map(self._prepared, batches[0])
                for batch, after in zip_longest(batches, batches[1:], fillvalue=nothing):
                    prepared, coming = list(coming), pool.map(self._prepared, after)  # read while these are judged
                    tables.append(self._table(batch, prepared))
                    bar.update(len(batch))
        except KeyboardInterrupt:
            if tables:
                raise Stopped(so_far(), len(files)) from None
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return so_far()

    def _table(self, files: list[Path], prepared: list[Preparation | str]) -> "pd.DataFrame":
        import pandas as pd

        blank = torch.zeros(1, 28, 28, dtype=torch.uint8)
        counts = [0 if isinstance(one, str) else len(one.digits) for one in prepared]
        images = [blank if isinstance(one, str) or not len(one.digits) else one.digits[one.subject] for one in prepared]
        logits, strange = self._judged(torch.stack(images))
        found = Predictions.of(logits, temperature=self.temperature, classes=self.classes)
        table = found.table
        table.insert(0, "file", [str(file) for file in files])
        table["warning"] = [self._warning(*said) for said in zip(counts, strange, table["confidence"], strict=True)]
        table["error"] = [one if isinstance(one, str) else "" for one in prepared]
        table.loc[[n == 0 for n in counts], ["prediction", "confidence", "margin", *found.columns]] = pd.NA
        table.loc[table["error"] != "", "warning"] = ""
        return table

    def _prepared(self, file: Path) -> Preparation | str:
        try:
            return self.prepare(file)
        except PictureError as error:
            return str(error)

    def _warning(self, count: int, strange: bool, confidence: float) -> str:
        what = called(self.classes)
        if count == 0:
            return "There is no ink to be seen on this picture."
        said = []
        if strange:
            said.append(f"This looks unlike the {what} that the network has learned; it may be none.")
        if confidence < DOUBT:
            another = "another digit" if what == "digits" else "something else"
            said.append(f"The network is only {confidence:.0%} sure: it may be {another}, or none.")
        if count > 1:
            said.append(
                f"There are {count} things like {what} here, and this is the largest; read() reads them one by one."
            )
        return " ".join(said)


def _is_many(name: str | Path) -> bool:
    """Whether it names a folder, or is a pattern and not itself the name of a file."""
    path = Path(name)
    try:
        return path.is_dir() or (bool(set(str(name)) & set("*?[")) and not path.exists())
    except OSError:  # as for a name that is too long for any file
        return False


def _files(name: str | Path) -> list[Path]:
    """A file's own path; or the pictures that a folder or a pattern names, in order of their names."""
    path = Path(name)
    if not _is_many(name):
        return [path]
    if path.is_dir():
        inside = sorted(file for file in path.iterdir() if file.name[0] != ".")
        files = [file for file in inside if file.suffix.lower() in SUFFIXES]
        if left_out := [file.name for file in inside if file.suffix.lower() not in SUFFIXES]:
            more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
            warnings.warn(f"{path}: left out {', '.join(left_out[:5])}{more}.", stacklevel=4)
        remedy = f"Put some there, named *{', *'.join(sorted(SUFFIXES))}."
    else:
        files = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
        remedy = "Change the pattern, or name a folder."
    if not files:
        raise PictureError(f"There is no picture in {name}. {remedy}")
    return files
