"""How a run shows that it is under way: one table that stays in a notebook, a bar in a terminal."""

from collections.abc import Callable

from tqdm import tqdm

Show = Callable[[list[dict]], None]


def progress(steps: int, done: int) -> Show:
    """A function to call with the history so far; it redraws what is there."""
    return _table(steps) if _in_notebook() else _bar(steps, done)


def _in_notebook() -> bool:
    try:
        shell = get_ipython()
    except NameError:
        return False
    return hasattr(shell, "kernel")


def _table(steps: int) -> Show:
    # One display id: the same output is replaced, and what is stored is the finished table, alive without
    # a kernel. (tqdm's widgets are dead in an exported page.)
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)

    def show(history: list[dict]) -> None:
        ends = [row for row in history if "seconds" in row]
        lines = [_line(row) for row in ends]
        if history and "seconds" not in history[-1]:
            lines.append(_line(history[-1]))
        share = history[-1]["step"] / steps if history else 0
        head = "".join(
            f"<th>{name}</th>"
            for name in ("epoch", "train loss, last steps", "val loss", "val accuracy", "seconds so far")
        )
        handle.update(
            HTML(
                f"<progress value='{share:.3f}' aria-label='training'></progress> step "
                f"{history[-1]['step'] if history else 0:,} of {steps:,}"
                f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
            )
        )

    return show


def _line(row: dict) -> str:
    cells = (
        f"{row['epoch']:.2f}".removesuffix(".00"),
        f"{row['train_loss']:.4f}",
        f"{row['val_loss']:.4f}" if "val_loss" in row else "",
        f"{row['val_accuracy']:.2%}" if "val_accuracy" in row else "",
        f"{row['seconds']:.0f}" if "seconds" in row else "…",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _bar(steps: int, done: int) -> Show:
    bar = tqdm(total=steps, initial=done, unit="step", disable=None)  # silent where there is no terminal

    def show(history: list[dict]) -> None:
        row = history[-1]
        bar.update(row["step"] - bar.n)
        if "val_accuracy" in row:
            bar.set_postfix(loss=f"{row['train_loss']:.4f}", val_accuracy=f"{row['val_accuracy']:.2%}")
        if bar.n >= steps:
            bar.close()

    return show
