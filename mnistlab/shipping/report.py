"""Everything worth keeping of a run, as files in one folder."""

import json
from pathlib import Path

import mnistlab as ml
from mnistlab import analysis
from mnistlab.analysis.predictions import Predictions
from mnistlab.data.digits import Digits
from mnistlab.paths import written_whole
from mnistlab.runs import Run

SHOWN = 10  # digits in a line of samples.png
LAST = "samples.png"  # that is written: where it is, everything is


def write(run: Run, digits: Digits, folder: str | Path) -> list[Path]:
    """Judge `run` on labelled `digits`, and write what it is and how it does; returns the files.

    checkpoint.safetensors with its card, history.csv, metrics.json (errors and accuracy, and for each digit precision,
    recall and F1), curves.png, confusion.png, samples.png (the first digits, and the surest mistakes).
    Each is written whole; the figures are judged on `digits`, which the run must not have learned from.
    """
    from mnistlab.figures import plots, style

    folder, split = Path(folder), digits.split_name
    result = ml.evaluate(run.model, digits)
    run.metrics[split] = result.card()
    predictions = run.predict(digits)
    table = predictions.table
    per_digit = analysis.per_digit(table["label"], table["prediction"])
    metrics = {**run.metrics, f"{split}_per_digit": json.loads(per_digit.to_json(orient="index"))}
    counts = analysis.confusion(table["label"], table["prediction"])
    of = f"{result.errors:,} of {result.count:,} {split} digits are misread"
    figures = {
        "curves": plots.learning(run.history, f"{type(run.model).__name__}: {run.history['step'].iloc[-1]:,} steps"),
        "confusion": plots.confusion(counts, f"{of[0].upper()}{of[1:]}", predictions.source),
        "samples": plots.readings(_samples(digits, predictions), of, predictions.source),
    }
    checkpoint = run.save(folder / "checkpoint.safetensors")
    with written_whole(folder / "history.csv") as part:
        run.history.to_csv(part, index=False)
    with written_whole(folder / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    for name, figure in figures.items():
        with written_whole(folder / f"{name}.png") as part:
            figure.savefig(part, format="png", dpi=style.DPI, bbox_inches="tight", facecolor="white")
    names = ("history.csv", "metrics.json", *(f"{name}.png" for name in figures))
    return [checkpoint, *(folder / name for name in names)]


def _samples(digits: Digits, predictions: Predictions) -> dict:
    table = predictions.table
    mistakes = table[table["label"] != table["prediction"]].sort_values("confidence", ascending=False)
    lines = {"the first": table.head(SHOWN), "surest mistakes": mistakes.head(SHOWN)}
    return {
        name: [
            (
                digits.images[index, 0],
                f"{row['prediction']} ({row['confidence']:.0%})" + (f", is {row['label']}" if wrong else ""),
                wrong,
            )
            for index, row in rows.iterrows()
            for wrong in [row["label"] != row["prediction"]]
        ]
        for name, rows in lines.items()
        if len(rows)
    }
