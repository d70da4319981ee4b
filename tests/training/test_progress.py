"""What a reader sees while a network trains."""

import re

import pytest
import tqdm as tqdm_module

from mnistlab.training import progress

FIRST = {"step": 20, "epoch": 0.5, "learning_rate": 0.01, "train_loss": 1.25}
SECOND = {
    "step": 40,
    "epoch": 1.0,
    "learning_rate": 0.0,
    "train_loss": 0.5,
    "val_loss": 0.25,
    "val_accuracy": 0.975,
    "seconds": 12.4,
}


def test_bar_starts_where_the_run_was_and_ends_closed(monkeypatch):
    bars = []

    def visible(**options):
        bars.append(tqdm(**options | {"disable": False}))
        return bars[-1]

    tqdm = tqdm_module.tqdm
    monkeypatch.setattr(tqdm_module, "tqdm", visible)
    show = progress._bar(steps=80, done=20)
    assert bars[0].n == 20
    show([FIRST, SECOND])
    assert bars[0].n == 40 and "97.50%" in bars[0].postfix
    show([FIRST, SECOND, FIRST | {"step": 80}])
    assert bars[0].n == 80 and bars[0].disable  # tqdm's word for closed


def test_table_replaces_itself_and_says_what_was_measured(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html.data)

    monkeypatch.setattr("IPython.display.display", lambda _, display_id: Handle())
    show = progress._table(steps=80)
    show([FIRST])
    show([FIRST, SECOND])
    first, second = (
        [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(?!<th)(.*?)</tr>", html)] for html in shown
    )
    assert first == [["0.50", "1.2500", "", "", "…"]]
    assert second == [["1", "0.5000", "0.2500", "97.50%", "12"]]
    assert "step 20 of 80" in shown[0] and "value='0.500'" in shown[1]


@pytest.mark.parametrize("shell", [None, object()])
def test_outside_a_notebook_there_is_no_table(monkeypatch, shell):
    if shell:
        monkeypatch.setattr("builtins.get_ipython", lambda: shell, raising=False)
    assert not progress._in_notebook()
