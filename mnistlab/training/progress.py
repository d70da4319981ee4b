"""How a run shows that it is under way: one table that stays in a notebook, a bar in a terminal."""

import builtins
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Show = Callable[[list[Row]], None]
COLUMNS: dict[
    str, Callable[[Row], str]
] = {  # of the table in a notebook: heading, and how a row of the history fills it
    "epoch": lambda row: f"{row['epoch']:.2f}".removesuffix(".00"),
    "train loss, last steps": lambda row: f"{row['train_loss']:.4f}",
    "val loss": lambda row: f"{row['val_loss']:.4f}" if "val_loss" in row else "",
    "val accuracy": lambda row: f"{row['val_accuracy']:.2%}" if "val_accuracy" in row else "",
    "seconds so far": lambda row: f"{row['seconds']:.0f}" if "seconds" in row else "…",
}


def progress(steps: int, done: int) -> Show:
    """A function to call with the history so far; it redraws what is there."""
    return _table(steps) if _in_notebook() else _bar(steps, done)


def _in_notebook() -> bool:
    return hasattr(getattr(builtins, "get_ipython", lambda: None)(), "kernel")


def _table(steps: int) -> Show:
    # One display id: the same output is replaced, and what is stored is the finished table, which needs no kernel.
    # (tqdm's widgets are dead in an exported page.)
    from IPython.display import HTML, display

    handle: Any = display(HTML(""), display_id=True)
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)

    def show(history: list[Row]) -> None:
        rows = [row for row in history[:-1] if "seconds" in row] + history[-1:]  # epochs' ends, and where it is now
        cells = ["".join(f"<td>{fill(row)}</td>" for fill in COLUMNS.values()) for row in rows]
        step = history[-1]["step"]
        handle.update(
            HTML(
                f"<progress value='{step / steps:.3f}' aria-label='training'></progress> step {step:,} of {steps:,}"
                f"<table><thead><tr>{head}</tr></thead><tbody><tr>{'</tr><tr>'.join(cells)}</tr></tbody></table>"
            )
        )

    return show


def _bar(steps: int, done: int) -> Show:
    from tqdm import tqdm

    bar = tqdm(total=steps, initial=done, unit="step", disable=None)  # silent where there is no terminal

    def show(history: list[Row]) -> None:
        row = history[-1]
        bar.update(row["step"] - bar.n)
        if "val_accuracy" in row:
            bar.set_postfix(loss=f"{row['train_loss']:.4f}", val_accuracy=f"{row['val_accuracy']:.2%}")
        if bar.n >= steps:
            bar.close()

    return show
