"""How a run shows that it is under way: one table that stays in a notebook, a bar in a terminal, lines in a file."""

import builtins
import sys
import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Show = Callable[[int, list[Row], bool], None]
OFTEN = 0.3  # seconds between two drawings of the table
# Of the table in a notebook: a heading, and how a row of the history fills it.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "epoch": lambda row: f"{row['epoch']:.2f}".removesuffix(".00"),
    "train loss, last steps": lambda row: f"{row['train_loss']:.4f}",
    "val loss": lambda row: f"{row['val_loss']:.4f}" if "val_loss" in row else "",
    "val accuracy": lambda row: f"{row['val_accuracy']:.2%}" if "val_accuracy" in row else "",
    "seconds so far": lambda row: f"{row['seconds']:.0f}" if "seconds" in row else "…",
}


def progress(steps: int, done: int) -> Show:
    """A function to call after every step, with (step, history so far, whether it was the last); it draws anew."""
    if _in_notebook():
        return _table(steps, done)
    return _bar(steps, done) if sys.stderr.isatty() else _lines(steps)


def _in_notebook() -> bool:
    return hasattr(getattr(builtins, "get_ipython", lambda: None)(), "kernel")


def _table(steps: int, done: int) -> Show:
    # One display id: the same output is replaced, and what is stored is the finished table, which needs no kernel.
    # (tqdm's widgets are dead in an exported page.)
    from IPython.display import HTML, display

    handle: Any = display(HTML(_html(steps, done, [])), display_id=True)
    drawn = [time.monotonic(), 0.0]  # when the table was drawn last, and how many rows of the history it held

    def show(step: int, history: list[Row], ended: bool) -> None:
        now = time.monotonic()
        if len(history) == drawn[1] and now - drawn[0] < OFTEN:
            return
        drawn[:] = now, len(history)
        handle.update(HTML(_html(steps, step, history)))

    return show


def _html(steps: int, step: int, history: list[Row]) -> str:
    rows = [row for row in history[:-1] if "seconds" in row] + history[-1:]  # epochs' ends, and where it is now
    cells = ["".join(f"<td>{fill(row)}</td>" for fill in COLUMNS.values()) for row in rows]
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    return (
        f"<progress value='{step / steps:.3f}' aria-label='training'></progress> step {step:,} of {steps:,}"
        f"<table><thead><tr>{head}</tr></thead><tbody><tr>{'</tr><tr>'.join(cells)}</tr></tbody></table>"
    )


def _bar(steps: int, done: int) -> Show:
    from tqdm import tqdm

    form = "{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"  # fits into 60 columns
    bar = tqdm(total=steps, initial=done, bar_format=form)

    def show(step: int, history: list[Row], ended: bool) -> None:
        if history:
            said = {"loss": f"{history[-1]['train_loss']:.4f}"}
            measured = [row["val_accuracy"] for row in history if "val_accuracy" in row][-1:]
            said |= {"val": f"{measured[0]:.2%}"} if measured else {}
            bar.set_postfix(said, refresh=False)
        bar.update(step - bar.n)
        if ended:
            bar.close()

    return show


def _lines(steps: int) -> Show:
    """For a log file: a line at the end of each epoch."""

    def show(step: int, history: list[Row], ended: bool) -> None:
        if history and history[-1]["step"] == step and "seconds" in history[-1]:
            row = history[-1]
            val = f", {row['val_accuracy']:.2%} of the validation digits right" if "val_accuracy" in row else ""
            said = f"epoch {row['epoch']:g}, step {step:,} of {steps:,}: loss {row['train_loss']:.4f}{val}"
            sys.stderr.write(f"{said}, after {row['seconds']:.0f} s\n")

    return show
