"""Learning rates that fall as PyTorch's do, runs that stop, and the best epoch, kept."""

import itertools
from dataclasses import replace

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pytest
import torch
from torch import nn

import mnistlab as ml
from mnistlab.training import schedules

CONFIG = ml.TrainConfig(epochs=6, batch_size=64, learning_rate=2e-3, augment=None, device="cpu", precision="float32")
WATCHFUL = replace(CONFIG, schedule="plateau", wait=0, patience=2, keep="best", learning_rate=0.05, muon=0.0, crop=0.0)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)


def test_cosine_agrees_with_pytorchs():
    config, ours = ml.TrainConfig(learning_rate=0.01, schedule="cosine", warmup=0), optimizer()
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(ours, T_max=50)
    for step in range(50):
        assert config.learning_rate_at(step, 50) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        ours.step()
        theirs.step()


def test_cosine_climbs_first():
    config = ml.TrainConfig(learning_rate=0.01, schedule="cosine", warmup=0.25)
    rates = [config.learning_rate_at(step, 40) for step in range(40)]
    assert rates[:10] == pytest.approx([0.001 * step for step in range(1, 11)]) and max(rates) == rates[9]
    assert rates[25] == pytest.approx(0.005) and 0 < rates[-1] < 1e-4


@hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(
    st.lists(st.integers(0, 9).map(lambda tenths: tenths / 10), max_size=30),
    st.integers(0, 4),
    st.sampled_from([0.1, 0.5]),
)
def test_plateau_agrees_with_pytorchs(measured, wait, factor):
    config = ml.TrainConfig(learning_rate=0.01, schedule="plateau", warmup=0, wait=wait, factor=factor)
    ours = optimizer()
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(ours, factor=factor, patience=wait, threshold=0, eps=0)
    for epoch in range(len(measured) + 1):
        rate = config.learning_rate_at(7, 100, measured[:epoch])
        assert rate == pytest.approx(ours.param_groups[0]["lr"], rel=1e-9)
        if epoch < len(measured):
            theirs.step(measured[epoch])


@pytest.mark.parametrize(
    ("measured", "patience", "stops"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.5], 1, True),  # no smaller value
        ([0.5, 0.6], 2, False),
        ([0.5, 0.6, 0.55], 2, True),
        ([0.5, 0.6, 0.4], 2, False),
        ([0.1, 0.6, 0.5, 0.4], 0, False),
        ([0.1, 0.6, 0.5, 0.4], 3, True),
    ],
)
def test_when_a_run_has_waited_long_enough(measured, patience, stops):
    assert schedules.exhausted(measured, patience) is stops


@pytest.fixture(scope="module")
def parts(offline) -> tuple[ml.Digits, ml.Digits]:
    return offline[:256], offline[256:512]


def fit(parts: tuple[ml.Digits, ml.Digits], config: ml.TrainConfig, **options) -> ml.Run:
    options.setdefault("show_progress", False)
    return ml.fit(ml.MLP(0, hidden=[16]), *parts, config, **options)


@pytest.mark.parametrize("judge", ["loss", "errors"])
def test_the_best_epoch_is_kept_and_the_run_stops(parts, judge):
    """Each epoch's weights are copied on their way, and judged by ml.evaluate."""
    copies = []

    def watch(step: int, model: nn.Module) -> None:
        if step and step % 4 == 0:
            copies.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    config = replace(WATCHFUL, epochs=40, judge=judge)
    run = fit(parts, config, watch=watch)
    judged = []
    for weights in copies:
        model = ml.MLP(0, hidden=[16])
        model.load_state_dict(weights)
        result = ml.evaluate(model, parts[1])
        judged.append(result.loss if judge == "loss" else result.errors)
    best = judged.index(min(judged))
    assert len(copies) == best + 1 + config.patience < 40
    assert all(torch.equal(tensor, copies[best][name]) for name, tensor in run.model.state_dict().items())
    assert run.metrics["epochs"] == {
        "kept": best + 1, "of": len(copies), "judge": judge, "done": len(copies), "planned": 40,
    }  # fmt: skip
    assert f"epoch {best + 1} of {len(copies)} was kept" in repr(run)
    assert run.kept.startswith(f"stopped after {len(copies)} of 40 epochs; ")
    last = fit(parts, replace(config, keep="last"))
    assert all(torch.equal(tensor, copies[-1][name]) for name, tensor in last.model.state_dict().items())


def test_nothing_is_stopped_while_there_are_crops(parts):
    """A network that has only seen crops is not used to whole digits yet."""
    config = replace(WATCHFUL, patience=1, epochs=10, learning_rate=0.5)
    stopped = [ml.fit(ml.Compact(), *parts, replace(config, crop=crop), show_progress=False) for crop in (0.0, 0.8)]
    early, late = (run.history["epoch"].iloc[-1] for run in stopped)
    assert early < 8 <= late


def test_the_rate_falls_where_nothing_gets_better(parts):
    run = fit(parts, replace(WATCHFUL, patience=0, epochs=12, warmup=0))
    ends = run.history.dropna(subset="val_loss")
    rates = ends["learning_rate"].to_list()
    losses = ends["val_loss"].to_list()
    assert rates == pytest.approx([0.05 * 0.3 ** schedules.drops(losses[:n], 0) for n in range(len(losses))])
    assert rates[-1] < 0.05


class Unplugged(Exception):
    pass


@pytest.mark.parametrize("at", [6, 13, 21])
def test_such_a_run_goes_on_as_if_nothing_had_happened(parts, tmp_path, at):
    config = replace(WATCHFUL, epochs=10, dropout=True)
    whole, state = fit(parts, config), tmp_path / "run.state"
    assert whole.history["step"].iloc[-1] > 21, "it stops before it is stopped"

    def unplug(step: int, model: nn.Module) -> None:
        if step == at:
            raise Unplugged

    with pytest.raises(Unplugged):
        fit(parts, config, state=state, save_every=0, watch=unplug, row_every=1)
    resumed = fit(parts, config, state=state)
    for again in (resumed, fit(parts, config, state=state)):  # the second finds it finished
        pairs = zip(again.model.state_dict().values(), whole.model.state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
        assert again.metrics == whole.metrics
    columns = ["epoch", "val_loss", "learning_rate"]
    ends = [run.history.dropna(subset="val_loss")[columns].reset_index(drop=True) for run in (resumed, whole)]
    pd.testing.assert_frame_equal(*ends, check_exact=True)


def test_the_card_says_how_many_epochs_it_was_chosen_from(parts, tmp_path):
    run = fit(parts, WATCHFUL)
    again = ml.load(run.save(tmp_path / "kept.safetensors"))
    assert again.kept == run.kept != "" and again.config == run.config


@pytest.mark.parametrize("change", [{"schedule": "plateau"}, {"patience": 1}, {"keep": "best"}])
def test_without_validation_digits_nothing_can_be_chosen(parts, change):
    with pytest.raises(ml.TrainingError, match=r"asks for validation digits: fit\(model, train, val\)"):
        ml.fit(ml.MLP(), parts[0], config=replace(CONFIG, crop=0.0, **change), show_progress=False)


def test_every_schedule_has_another_course():
    courses = [
        tuple(ml.TrainConfig(schedule=name, warmup=0.1).learning_rate_at(step, 20, [1, 2, 3]) for step in range(20))
        for name in schedules.SCHEDULES
    ]
    assert all(one != other for one, other in itertools.combinations(courses, 2))
