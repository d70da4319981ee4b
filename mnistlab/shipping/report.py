"""Everything worth keeping of a run, as files in one folder."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from mnistlab import analysis
from mnistlab.analysis.intervals import Evaluation
from mnistlab.analysis.predictions import Predictions
from mnistlab.data.digits import Digits
from mnistlab.paths import written_whole
from mnistlab.runs import Run

SHOWN = 10  # digits in a line of samples.png
LAST = "samples.png"  # the file that is written last: where it is, everything is


def write(run: Run, digits: Digits, folder: str | Path) -> tuple[Evaluation, list[Path]]:
    """Judge `run` on labelled `digits`, and write what it is and how it does; returns the score and the files.

    checkpoint.safetensors with its card, history.csv, metrics.json (errors and accuracy, and for each digit precision,
    recall and F1), curves.png, confusion.png, samples.png (the first digits, and the surest mistakes).
    The run must not have learned from `digits`; card and metrics.json name them beside the score, under "test".
    Each file is written whole.
    """
    from mnistlab.figures import plots, style

    folder = Path(folder)
    predictions = run.predict(digits)
    result, per_digit = predictions.evaluation, analysis.per_digit(predictions)
    judged = {**run.metrics, "test": {**result.card(), "digits": repr(digits)}}
    metrics = {**judged, "test_per_digit": json.loads(per_digit.to_json(orient="index"))}
    of = f"{result.errors:,} of {result.count:,} test {digits.what} are misread"
    figures = {
        "curves": plots.learning(run),
        "confusion": plots.confusion(predictions),
        "samples": plots.readings(_samples(digits, predictions), of, predictions),
    }
    checkpoint = replace(run, metrics=judged).save(folder / "checkpoint.safetensors")
    with written_whole(folder / "history.csv") as part:
        run.history.to_csv(part, index=False)
    with written_whole(folder / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    for name, figure in figures.items():
        with written_whole(folder / f"{name}.png") as part:
            figure.savefig(part, format="png", dpi=style.DPI, bbox_inches="tight", facecolor="white")
    names = ("history.csv", "metrics.json", *(f"{name}.png" for name in figures))
    return result, [checkpoint, *(folder / name for name in names)]


def _samples(digits: Digits, predictions: Predictions) -> dict[str, Sequence[tuple[Tensor | np.ndarray, str, bool]]]:
    table, names = predictions.table, predictions.classes
    mistakes = table[table["label"] != table["prediction"]].sort_values("confidence", ascending=False)
    lines = {"the first": table.head(SHOWN), "surest mistakes": mistakes.head(SHOWN)}
    return {
        name: [
            (
                digits.images[index, 0],
                f"{names[row['prediction']]} ({row['confidence']:.0%})"
                + (f", is {names[row['label']]}" if wrong else ""),
                wrong,
            )
            for index, row in rows.iterrows()
            for wrong in [row["label"] != row["prediction"]]
        ]
        for name, rows in lines.items()
        if len(rows)
    }
