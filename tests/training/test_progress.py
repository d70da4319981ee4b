"""What a reader sees while a network trains, and when it is interrupted."""

import io
import re

import pytest
import tqdm as tqdm_module
from IPython.core.interactiveshell import InteractiveShell

import mnistlab as ml
from mnistlab.training import progress
from mnistlab.training.state import Interrupted

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
    bars, screen = [], io.StringIO()

    def visible(**options):
        bars.append(tqdm(**options | {"file": screen, "ncols": 60, "mininterval": 0}))
        return bars[-1]

    tqdm = tqdm_module.tqdm
    monkeypatch.setattr(tqdm_module, "tqdm", visible)
    show = progress._bar(steps=80, done=20)
    assert bars[0].n == 20
    show(21, [FIRST], False)
    show(40, [FIRST, SECOND], False)
    assert bars[0].n == 40 and "97.50%" in bars[0].postfix
    show(61, [FIRST, SECOND], True)  # a run that stops early
    assert bars[0].n == 61 and bars[0].disable  # tqdm's word for closed
    drawn = screen.getvalue().replace("\n", "\r").split("\r")
    assert max(map(len, drawn)) <= 60 and any("loss=0.5000, val=97.50%" in line for line in drawn)


def test_table_replaces_itself_and_says_what_was_measured(monkeypatch):
    shown = []

    class Handle:
        def update(self, html):
            shown.append(html.data)

    def display(html, display_id):
        shown.append(html.data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    show = progress._table(steps=80, done=0)
    assert "step 0 of 80" in shown.pop(), "something is to be seen before the first step"
    show(1, [], False)
    assert not shown, "too soon to draw again"
    show(20, [FIRST], False)
    show(40, [FIRST, SECOND], False)
    first, second = (
        [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(?!<th)(.*?)</tr>", html)] for html in shown
    )
    assert first == [["0.50", "1.2500", "", "", "…"]]
    assert second == [["1", "0.5000", "0.2500", "97.50%", "12"]]
    assert "step 20 of 80" in shown[0] and "value='0.500'" in shown[1]
    monkeypatch.setattr(progress, "OFTEN", 0)
    show(41, [FIRST, SECOND], False)
    assert "step 41 of 80" in shown[-1]


def test_a_log_file_gets_a_line_an_epoch(capsys):
    show = progress.progress(80, 0)
    show(20, [FIRST], False)
    show(40, [FIRST, SECOND], False)
    show(41, [FIRST, SECOND], False)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1, step 40 of 80: loss 0.5000, 97.50% of the validation digits right, after 12 s"
    ]


@pytest.mark.parametrize("shell", [None, object()])
def test_outside_a_notebook_there_is_no_table(monkeypatch, shell):
    if shell:
        monkeypatch.setattr("builtins.get_ipython", lambda: shell, raising=False)
    assert not progress._in_notebook()


@pytest.mark.parametrize("kept", [False, True])
def test_an_interruption_is_one_line_that_says_how_to_go_on(offline, tmp_path, kept, capsys):
    def stop(step, model):
        if step == 3:
            raise KeyboardInterrupt

    state = tmp_path / "run.state"
    options = {"state": state, "save_every": 0, "row_every": 1} if kept else {}
    config = ml.TrainConfig(epochs=1, batch_size=32, crop=0, muon=0)
    with pytest.raises(KeyboardInterrupt) as caught:
        ml.fit(ml.MLP(hidden=[8]), offline[:160], config=config, watch=stop, show_progress=False, **options)
    said = str(caught.value)
    assert isinstance(caught.value, Interrupted) and said.startswith("Interrupted after step 3 of 5.")
    assert (
        f"{state} keeps it: the same call, with a new network, goes on from there." if kept else "state='run.state'"
    ) in said
    shell = InteractiveShell.instance()
    try:
        shell.showtraceback((type(caught.value), caught.value, caught.tb))
    finally:
        InteractiveShell.clear_instance()
    shown = capsys.readouterr().out.strip()
    assert shown == said, "IPython shows the line alone"
