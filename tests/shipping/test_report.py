"""What is written of a run: judged in one pass, and told in numbers that others compute alike."""

import json
from copy import deepcopy

import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss

import mnistlab as ml
from mnistlab.shipping import report


@pytest.fixture(scope="module")
def run(offline) -> ml.Run:
    config = ml.TrainConfig(epochs=1, batch_size=32, crop=0.0, device="cpu")
    return ml.fit(ml.LeNet(), offline[:300], None, config, show_progress=False)


def test_each_digit_passes_the_network_once(run, offline, tmp_path):
    seen = []
    hook = run.model.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    report.write(run, offline[300:600], tmp_path)
    hook.remove()
    assert sum(seen) == 300


def test_the_callers_run_stays_as_it_was(run, offline, tmp_path):
    before = deepcopy((run.metrics, run.data, run.versions, list(run.history)))
    report.write(run, offline[300:600], tmp_path)
    assert (run.metrics, run.data, run.versions, list(run.history)) == before


def test_the_score_is_what_the_network_says(run, offline, tmp_path):
    digits = offline[300:600]
    result, files = report.write(run, digits, tmp_path)
    with torch.no_grad():
        logits = run.model(ml.normalise(digits.images))
    assert result.errors == int((logits.argmax(1) != digits.labels).sum()) and result.count == 300
    expected = log_loss(digits.labels, logits.double().softmax(1), labels=range(10))
    assert result.loss == pytest.approx(expected, rel=1e-4)
    assert {file.name for file in files} == {file.name for file in tmp_path.iterdir()}
    assert files[-1].name == report.LAST
    card = ml.load(tmp_path).metrics["test"]
    assert card == json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert card["errors"] == result.errors and card["digits"] == repr(digits)
    assert pd.read_csv(tmp_path / "history.csv")["step"].iloc[-1] == run.history["step"].iloc[-1]
