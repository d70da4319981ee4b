"""What a network says of many digits: one row each, and the files that carry it on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mnistlab.analysis.intervals import Evaluation
from mnistlab.data.digits import TEN, DataError, Digits, called
from mnistlab.networks.inference import logits, rows
from mnistlab.paths import written_whole

if TYPE_CHECKING:
    import pandas as pd


DOUBT = 0.9  # an answer with a lower confidence is doubtful


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """One row a digit, in `table`.

    Columns: prediction (the number of a class, 0…9), confidence (the largest probability), margin (largest minus second
    largest), a probability for each class, named as in `columns` (p0…p9); where the truth is known, label and loss
    (−ln of the label's probability); for pictures, file and warning, and error, which says why a file could not be read
    (its other columns are then empty).
    source: what the digits are, in words that a figure's caption can carry.  classes: the name of each class.
    """

    table: "pd.DataFrame"
    source: str = ""
    classes: tuple[str, ...] = TEN

    @classmethod
    def of(
        cls,
        logits: Tensor,
        labels: Tensor | None = None,
        *,
        temperature: float = 1.0,
        source: str = "",
        classes: tuple[str, ...] = TEN,
    ) -> "Predictions":
        """From (N, C) logits: softmax of logits ÷ temperature. DataError unless there are as many names of classes."""
        if logits.shape[1] != len(classes):
            raise DataError(f"{logits.shape[1]} logits for {len(classes)} classes: this network is not for these.")
        if labels is not None and len(labels) and int(labels.max()) >= len(classes):
            raise DataError(f"A label is {int(labels.max())}, and the network knows {len(classes)} classes, from 0 up.")
        import pandas as pd

        logs = (logits.cpu().double() / temperature).log_softmax(1)
        probabilities = logs.exp()
        (first, second), digits = probabilities.topk(2, 1)[0].unbind(1), probabilities.argmax(1)
        table = pd.DataFrame({"prediction": pd.array(digits.numpy(), dtype="Int64")})
        table["confidence"], table["margin"] = first.numpy(), (first - second).numpy()
        if labels is not None:
            labels = labels.cpu()
            table.insert(0, "label", pd.array(labels.numpy(), dtype="Int64"))
            table["loss"] = -logs[torch.arange(len(labels)), labels].numpy()
        chances = pd.DataFrame(probabilities.numpy(), columns=[f"p{name}" for name in classes])
        return cls(pd.concat([table, chances], axis=1), source, classes)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray | Tensor) -> "Predictions":
        """The predictions of some digits, counted anew: of a slice, of these numbers, or of a boolean mask."""
        chosen = np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows, None if len(rows) else int)]
        return Predictions(self.table.iloc[chosen].reset_index(drop=True), self.source, self.classes)

    @property
    def columns(self) -> list[str]:
        """The names of the columns with the probabilities: p and the class's name."""
        return [f"p{name}" for name in self.classes]

    @property
    def what(self) -> str:
        """What to call them: digits where each class is one, else pictures."""
        return called(self.classes)

    def __repr__(self) -> str:
        wrong = f", {self.errors:,} wrong" if "label" in self.table else ""
        return f"{len(self):,} predictions{wrong} · {self.source}"

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64: the digits that the network answered, or the numbers of other classes."""
        return np.asarray(self.table["prediction"], np.int64)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) float64: the largest probability of each."""
        return np.asarray(self.table["confidence"], float)

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64: the digits that are right. DataError where nobody said."""
        if "label" not in self.table:
            raise DataError("These predictions are of digits without labels; predict a split that has them.")
        return np.asarray(self.table["label"], np.int64)

    @property
    def right(self) -> np.ndarray:
        """(N,) bool: whether each answer is its label."""
        return np.asarray(self.predicted == self.labels)

    @property
    def errors(self) -> int:
        return int((~self.right).sum())

    @property
    def evaluation(self) -> Evaluation:
        """The errors, the digits and the mean loss; of a loss at another temperature than 1, that one."""
        return Evaluation(self.errors, len(self), float(self.table["loss"].mean()))

    @property
    def probabilities(self) -> np.ndarray:
        """(N, C) float64; a row of nan where a file could not be read."""
        return np.asarray(self.table[self.columns], float)

    def summary(self) -> "pd.DataFrame":
        """One row for each class that was predicted, by its name, and one for all.

        Columns: count, its share of all, mean and least confidence; right (a share) where the truth is known; doubtful:
        how many carry a warning, where the rows are pictures, else how many have a confidence below DOUBT; unread: how
        many files could not be read.
        """
        import pandas as pd

        groups = {self.classes[int(label)]: rows for label, rows in self.table.groupby("prediction")}
        rows: dict[str, dict[str, float]] = {}
        for name, group in (groups | {"all": self.table}).items():
            doubtful = group["warning"] != "" if "warning" in group else group["confidence"] < DOUBT
            rows[name] = {
                "count": len(group),
                "share": len(group) / len(self),
                "mean confidence": group["confidence"].mean(),
                "least confidence": group["confidence"].min(),
            }
            if "label" in group:
                rows[name]["right"] = float((group["label"] == group["prediction"]).mean())
            rows[name]["doubtful"] = int(doubtful.sum())
            if "error" in group:
                rows[name]["unread"] = int((group["error"] != "").sum())
        return pd.DataFrame.from_dict(rows, orient="index")

    def to_csv(self, path: str | Path, columns: Sequence[str] | None = None) -> Path:
        """Write the table, or some of its columns, as CSV, whole or not at all; return `path`.

        Where the classes are not the ten digits, their names stand in it instead of their numbers.
        """
        with written_whole(path) as part:
            self.named().to_csv(part, index=False, columns=columns, encoding="utf-8")
        return Path(path)

    def to_json(self, path: str | Path, columns: Sequence[str] | None = None) -> Path:
        """As `to_csv`, but a JSON list of one object a row."""
        table = self.named() if columns is None else self.named()[list(columns)]
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        with written_whole(path) as part:  # json writes every digit of a number, as the CSV does, and no "\\/"
            part.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return Path(path)

    def named(self) -> "pd.DataFrame":
        """The table with names instead of numbers for classes that are not the ten digits."""
        if self.classes == TEN:
            return self.table
        names = dict(enumerate(self.classes))
        numbered = [column for column in ("label", "prediction") if column in self.table]
        return self.table.assign(**{column: self.table[column].map(names) for column in numbered})

    def to_kaggle(self, path: str | Path, rows: int = 28_000) -> Path:
        """Write Kaggle's submission.csv: ImageId (1, 2, 3, …) and Label, for the digits of its test.csv in order.

        ValueError unless there are exactly `rows` predictions, each with a digit: Kaggle refuses any other file.
        """
        import pandas as pd

        if len(self) != rows:
            raise ValueError(f"Kaggle wants {rows:,} rows; here are {len(self):,}. Predict the digits of its test.csv.")
        if unread := int(self.table["prediction"].isna().sum()):
            raise ValueError(f"{unread:,} rows have no prediction; Kaggle wants a digit in each.")
        table = pd.DataFrame({"ImageId": range(1, rows + 1), "Label": self.table["prediction"].astype(int)})
        with written_whole(path) as part:
            table.to_csv(part, index=False)
        return Path(path)


def predict(
    model: nn.Module,
    digits: Digits,
    *,
    temperature: float = 1.0,
    batch_size: int = 100,
    classes: tuple[str, ...] | None = None,
) -> Predictions:
    """What `model` says of every digit, in eval mode; its probabilities are softmax(logits ÷ temperature).

    classes: the names of its answers, by default those of the digits' own classes.
    """
    source = ", ".join(filter(None, (digits.source, digits.split_name)))
    answers = rows(type(model).__name__, logits(model, digits.images, batch_size=batch_size))
    names = digits.classes if classes is None else classes
    return Predictions.of(answers, digits.labels, temperature=temperature, source=source, classes=names)
