import itertools
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

import mnistlab as ml
from mnistlab.training import loop

pytestmark = pytest.mark.slow

CONFIG = ml.TrainConfig(epochs=1, batch_size=32, learning_rate=2e-3, seed=3)
NAMED = {"quick": ml.TrainConfig.quick, "default": ml.TrainConfig, "best": ml.TrainConfig.best}


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def fit(digits: ml.Digits, config: ml.TrainConfig = CONFIG, seed: int = 0, **options) -> ml.Run:
    return ml.fit(ml.CNN(seed), digits, config=config, show_progress=False, **options)


# the arithmetic


@pytest.mark.parametrize("warmup", [0.1, 0.25, 0.5])
def test_schedule_agrees_with_one_cycle(warmup):
    """PyTorch's OneCycleLR, made linear, passes through the same points (half a step aside at the ends)."""
    config, steps = ml.TrainConfig(learning_rate=0.01, warmup=warmup), 400
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        0.01,
        total_steps=steps,
        pct_start=warmup,
        anneal_strategy="linear",
        div_factor=1e9,
        final_div_factor=1e9,
        cycle_momentum=False,
    )
    for step in range(steps):
        got = config.learning_rate_at(step, steps)
        assert got == pytest.approx(one_cycle.get_last_lr()[0], abs=0.01 / (warmup * steps) * 1.5)
        optimizer.step()
        one_cycle.step()


def test_schedule_without_warmup_starts_at_the_peak():
    config = ml.TrainConfig(learning_rate=0.01, warmup=0)
    assert config.learning_rate_at(0, 10) == 0.01
    assert config.learning_rate_at(9, 10) == pytest.approx(0.001)


def test_without_a_schedule_the_learning_rates_stay_at_their_peak(offline):
    config = replace(CONFIG, schedule="constant")
    assert {config.learning_rate_at(step, 50) for step in range(50)} == {config.learning_rate}
    run = fit(offline[:640], config)
    assert set(run.history["learning_rate"]) == {config.learning_rate}
    plain = {"epochs": 1, "batch_size": 64, "augment": None, "precision": "bfloat16"}
    config = ml.TrainConfig(schedule="constant", **plain)
    assert equal(fit(offline[:200], config).model, plain_loop(offline[:200], config))
    assert not equal(fit(offline[:200], ml.TrainConfig(**plain)).model, plain_loop(offline[:200], config))


def test_evaluate_agrees_with_scikit_learn(offline):
    model = ml.CNN(4).train()
    mean = model.norm1.running_mean.clone()
    result = ml.evaluate(model, offline, batch_size=100)
    assert model.training and torch.equal(model.norm1.running_mean, mean)
    with torch.no_grad():
        probabilities = model.eval()(ml.normalise(offline.images)).double().softmax(1)
    assert result.count == len(offline)
    assert result.accuracy == pytest.approx(accuracy_score(offline.labels, probabilities.argmax(1)))
    assert result.loss == pytest.approx(log_loss(offline.labels, probabilities, labels=range(10)), rel=1e-4)


def plain_loop(digits: ml.Digits, config: ml.TrainConfig) -> nn.Module:
    """What `fit` should do, in PyTorch's own words: no ticks, no state, no progress, no augmentation."""
    model = ml.CNN(0).to(memory_format=torch.channels_last).train()
    for layer in (model.drop1, model.drop2, model.drop3, model.drop4):
        layer.eval()
    inner = [layer for layer in (model.conv2, model.conv3, model.conv4, model.conv5, model.dense1) if config.muon]
    ids = {id(layer.weight) for layer in inner}
    rest = [p for p in model.parameters() if id(p) not in ids]
    adamw = torch.optim.AdamW(rest, betas=config.betas, weight_decay=config.weight_decay, fused=True)
    # Muon's own copy of the weights, one row a filter, in the order in which channels_last keeps them.
    rows = [nn.Parameter(layer.weight.detach().movedim(1, -1).flatten(1).clone()) for layer in inner]
    muon = torch.optim.Muon(rows or [nn.Parameter(torch.zeros(1, 1))], momentum=config.momentum, weight_decay=0)
    per_epoch, step = len(digits) // config.batch_size, 0
    steps = round(config.epochs * per_epoch)
    for epoch in range(math.ceil(config.epochs)):
        shuffle = torch.Generator().manual_seed(loop._draw(config, "order", epoch))
        order = torch.randperm(len(digits), generator=shuffle)
        for number in range(min(per_epoch, steps - step)):
            batch = digits[order[number * config.batch_size :][: config.batch_size]]
            adamw.param_groups[0]["lr"] = config.learning_rate_at(step, steps)
            muon.param_groups[0]["lr"] = config.muon * adamw.param_groups[0]["lr"] / config.learning_rate
            images = batch.images[:, :, :24, :24] if step < config.crop * steps else batch.images
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
                logits = model(ml.normalise(images).contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=config.label_smoothing)
            model.zero_grad()
            loss.backward()
            for row, layer in zip(rows, inner, strict=True):
                row.grad = layer.weight.grad.movedim(1, -1).flatten(1)
            muon.step()
            adamw.step()
            for row, layer in zip(rows, inner, strict=True):
                layer.weight.data.copy_(row.data.view_as(layer.weight.movedim(1, -1)).movedim(-1, 1))
            step += 1
    return model


MUON = {"muon": 0.2, "precision": "bfloat16"}  # in which PyTorch's Muon computes, whatever the run does


@pytest.mark.parametrize("changes", [{}, MUON | {"momentum": 0.7}, {"crop": 0.5}, MUON | {"epochs": 1.7}])
def test_fit_agrees_with_a_plain_loop(offline, changes):
    digits = offline[:200]
    plain = {"epochs": 3, "batch_size": 64, "learning_rate": 2e-3, "augment": None, "label_smoothing": 0.1}
    config = ml.TrainConfig(**plain | {"muon": 0.0, "crop": 0.0, "precision": "float32"} | changes)
    run = fit(digits, config)
    assert equal(run.model, plain_loop(digits, config))
    assert run.history["step"].iloc[-1] == round(config.epochs * 3)


@pytest.mark.parametrize(
    "change",
    [
        {"betas": (0.9, 0.999)},
        {"weight_decay": 0.5},
        {"label_smoothing": 0.0},
        {"warmup": 0.5},
        {"muon": 0.05},
        {"momentum": 0.5},
        {"crop": 0.3},
        {"epochs": 2},
    ],
)
def test_every_setting_reaches_the_loop(offline, change):
    config = ml.TrainConfig(epochs=1, batch_size=64, augment=None, label_smoothing=0.1, precision="bfloat16")
    trained = fit(offline[:200], config).model
    assert equal(trained, plain_loop(offline[:200], config))
    assert not equal(trained, plain_loop(offline[:200], replace(config, **change)))


def test_muon_turns_all_directions_alike(offline):
    """One step against the SVD of the gradient: the same directions, each of about the same length."""
    still = {"augment": None, "crop": 0.0, "warmup": 0.0, "weight_decay": 0.0}
    config = ml.TrainConfig(epochs=1, batch_size=64, muon=0.1, momentum=0.0, precision="float32", **still)
    before = ml.CNN(0)
    model = fit(offline[:64], config).model
    before.train()
    for layer in (before.drop1, before.drop2, before.drop3, before.drop4):
        layer.eval()
    logits = before(ml.normalise(offline.images[:64]))
    F.cross_entropy(logits, offline.labels[:64], label_smoothing=config.label_smoothing).backward()
    for name in ("conv2", "conv4", "dense1"):
        old, new = getattr(before, name).weight, getattr(model, name).weight
        u, sizes, v = torch.linalg.svd(old.grad.flatten(1), full_matrices=False)
        taken = (u.T @ (old - new).detach().flatten(1) @ v.T) / 0.1
        strong = sizes > sizes[0] / 100  # five iterations lift no weaker direction to full length
        assert taken.diag()[strong].min() > 0.6 and taken.diag()[strong].max() < 1.4, name
        off = (taken - torch.diag(taken.diag()))[strong][:, strong]
        assert off.abs().max() < 0.2, name


def test_other_networks_learn_too(offline):
    """A ReLU used twice, a layer that is never called, a frozen one, a module of one's own, one layer alone."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare, self.first = nn.Linear(3, 3), nn.Conv1d(28, 8, 3)
            self.inner, self.last = nn.Linear(8 * 26, 16), nn.Linear(16, 10)
            self.shift = nn.Parameter(torch.zeros(1, 28, 28))

        def forward(self, images):
            return self.last(self.inner(self.first(images[:, 0] + self.shift).flatten(1)).relu())

    relu = nn.ReLU()
    shared = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), relu, nn.Linear(32, 32), relu, nn.Linear(32, 10))
    frozen = ml.CNN()
    frozen.conv2.requires_grad_(False)
    kept = frozen.conv2.weight.clone()
    for model in (shared, Own(), frozen, nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), ml.Ensemble(2)):
        config = replace(CONFIG, precision="float32", crop=0.0)
        before = ml.evaluate(model, offline).loss
        calls = []
        relu.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        run = ml.fit(model, offline[:640], config=config, show_progress=False)
        assert len(calls) == (2 * 21 if model is shared else 0)  # two blank digits show how to lay them out
        assert ml.evaluate(run.model, offline).loss < before
    assert torch.equal(frozen.conv2.weight, kept)


class Viewed(nn.Module):
    """Like PyTorch's old example: of 32 crops it makes 18 rows, without an error of its own."""

    def __init__(self, rows) -> None:
        super().__init__()
        self.rows = rows
        self.conv1, self.conv2, self.dense = nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5), nn.Linear(320, 10)

    def forward(self, images):
        images = F.max_pool2d(self.conv2(F.max_pool2d(self.conv1(images), 2)), 2)
        return self.dense(self.rows(images, (-1, 320)))


NO_CROPS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(784, 10)),
    "viewed": lambda: Viewed(torch.Tensor.view),
    "reshaped": lambda: Viewed(torch.Tensor.reshape),
    "of ours": ml.LeNet,
}


@pytest.mark.parametrize("make", NO_CROPS.values(), ids=NO_CROPS)
def test_network_that_takes_no_crops_says_so(offline, make):
    with pytest.raises(ml.TrainingError, match=r"takes no crops of 24×24 pixels\. .*crop=0"):
        ml.fit(make(), offline[:64], config=CONFIG, show_progress=False)
    if make is not NO_CROPS["viewed"]:  # PyTorch says of it that only reshape is for all layouts of memory
        ml.fit(make(), offline[:64], config=replace(CONFIG, crop=0.0), show_progress=False)


def test_whether_crops_fit_is_tried_without_a_trace(offline):
    """A network of somebody's own, with batch norm and random numbers, is as it was before its first step."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model[1].eval()
    modes = [layer.training for layer in model.modules()]
    loop._try_crops(model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [layer.training for layer in model.modules()] == modes
    assert ml.fit(model, offline[:64], config=CONFIG, show_progress=False).history["step"].iloc[-1] == 2


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: no kernel image"), ValueError()]
)
def test_other_errors_are_not_blamed_on_crops(offline, error):
    class Failing(nn.Module):
        def __init__(self, side: int) -> None:
            super().__init__()
            self.side, self.dense = side, nn.Linear(1, 10)

        def forward(self, images):
            if images.shape[-1] <= self.side:
                raise error
            return self.dense(images.mean((2, 3)))

    sides = (24, 28) if isinstance(error, torch.OutOfMemoryError) else (28,)
    for side in sides:
        with pytest.raises(type(error)) as caught:
            ml.fit(Failing(side), offline[:64], config=CONFIG, show_progress=False)
        assert caught.value is error
    model = ml.CNN()  # which takes crops, and fails in its first step
    model.conv1.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)) as caught:
        ml.fit(model, offline[:64], config=CONFIG, show_progress=False)
    assert caught.value is error


def test_whole_epochs_are_the_same_as_numbers_with_a_point(offline, tmp_path):
    state = tmp_path / "run.state"
    first = fit(offline[:64], state=state)
    assert equal(fit(offline[:64], replace(CONFIG, epochs=1.0), state=state).model, first.model)


def test_it_learns(train, test_digits):
    run = fit(train[:1400], ml.TrainConfig(epochs=8))
    assert ml.evaluate(run.model, test_digits[:1000]).accuracy > 0.9


# what a run reports


def test_history(offline):
    train, val = offline.split(0.3, seed=1)
    run = ml.fit(ml.CNN(), train, val, replace(CONFIG, epochs=2), show_progress=False)
    history, per_epoch = run.history, len(train) // 32
    assert list(history["step"]) == [20, per_epoch, 40, 60, 2 * per_epoch]
    assert list(history.dropna()["epoch"]) == [1, 2]
    last = history.iloc[-1]
    assert last["val_accuracy"] == pytest.approx(ml.evaluate(run.model, val).accuracy, abs=0.01)
    assert history["learning_rate"].max() <= CONFIG.learning_rate and last["learning_rate"] < 1e-4
    assert run.data == {
        "source": offline.source,
        "split": train.split_name,
        "count": len(train),
        "md5": train.md5,
    }
    assert not run.model.training
    assert run.hardware["device"]
    assert run.hardware["precision"] in ("float32", "bfloat16")
    wrong = ml.Digits(val.images, (val.labels + 1) % 10, val.source)  # digits that only val can mean
    run = ml.fit(ml.CNN(), train, wrong, replace(CONFIG, precision="float32"), show_progress=False)
    result = ml.evaluate(run.model, wrong)
    assert run.history.iloc[-1]["val_loss"] == pytest.approx(result.loss, rel=1e-4)
    assert run.history.iloc[-1]["val_accuracy"] == result.accuracy < 0.5


def test_rows_of_the_history_come_as_often_as_asked_for(offline):
    every, usual = (fit(offline[:700], row_every=steps) for steps in (1, 20))
    assert list(every.history["step"]) == list(range(1, 22)) and list(usual.history["step"]) == [20, 21]
    assert every.history["train_loss"][:20].mean() == pytest.approx(usual.history["train_loss"][0])
    assert equal(every.model, usual.model)


def test_dropout_is_idle_unless_asked_for(offline):
    for dropout in (False, True):
        model, seen = ml.CNN(), []
        model.drop4.register_forward_hook(lambda layer, *_, seen=seen: seen.append(layer.training))
        ml.fit(model, offline[:64], config=replace(CONFIG, dropout=dropout), show_progress=False)
        assert seen == [dropout] * 2


def test_augmentation_and_smoothing_reach_the_loop(offline):
    digits = offline[:64]
    plain = fit(digits, replace(CONFIG, augment=None, label_smoothing=0))
    assert not equal(plain.model, fit(digits, replace(CONFIG, label_smoothing=0)).model)
    assert not equal(plain.model, fit(digits, replace(CONFIG, augment=None)).model)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_what_was_asked_for(offline, precision):
    model, seen = ml.CNN(), set()
    model.conv2.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    run = ml.fit(model, offline[:64], config=replace(CONFIG, precision=precision), show_progress=False)
    assert seen == {getattr(torch, precision)} and run.hardware["precision"] == precision
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


def test_a_line_an_epoch_goes_to_stderr_and_nothing_if_so_wanted(offline, capfd):
    ml.fit(ml.CNN(), offline[:64], config=CONFIG)
    out, err = capfd.readouterr()
    assert out == "" and re.fullmatch(r"epoch 1, step 2 of 2: loss \d\.\d+, after \d+ s\n", err)
    ml.fit(ml.CNN(), offline[:64], config=CONFIG, show_progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_frozen_norm_stays_frozen_through_evaluation(offline):
    model = ml.CNN().train()
    model.norm1.eval()
    ml.evaluate(model, offline[:10])
    ml.layer_table(model)
    assert model.training and not model.norm1.training and model.norm2.training


# the same seed, the same bits


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_same_seed_same_bits(offline, name, dropout):
    config = NAMED[name](epochs=1.3, batch_size=32, seed=3, dropout=dropout)
    digits = offline[:320]
    torch.manual_seed(1)
    first = fit(digits, config)
    torch.manual_seed(2)
    torch.rand(5)
    after = torch.get_rng_state()
    second = fit(digits, config)
    assert torch.equal(torch.get_rng_state(), after)  # the caller's random numbers are left alone
    assert equal(first.model, second.model)
    assert not equal(first.model, fit(digits, replace(config, seed=4)).model)
    assert not equal(first.model, fit(digits, config, seed=1).model)


# interrupted and resumed


class Unplugged(Exception):
    pass


@pytest.fixture(scope="module", params=NAMED)
def unbroken(offline, request) -> tuple[ml.Digits, ml.TrainConfig, ml.Run]:
    """A run of 43 steps that nothing stopped, with what it was made from."""
    digits, config = offline[:512], NAMED[request.param](epochs=2.7, batch_size=32, seed=3, dropout=True)
    return digits, config, fit(digits, config)


@pytest.mark.parametrize(("error", "at"), [(Unplugged, 10), (Unplugged, 38), (KeyboardInterrupt, 25)])
def test_resumed_after_an_exception(unbroken, tmp_path, error, at):
    (digits, config, run), state = unbroken, tmp_path / "run.state"
    model, count = ml.CNN(), itertools.count(1)

    def unplug(*_):
        if next(count) == at:
            raise error

    model.register_forward_pre_hook(unplug)
    with pytest.raises(error):
        ml.fit(model, digits, config=config, state=state, save_every=0, show_progress=False)
    if at > 20:
        assert 0 < torch.load(state, weights_only=True)["step"] < at
    resumed = fit(digits, config, state=state)
    assert equal(resumed.model, run.model)
    columns = ["step", "epoch", "learning_rate", "train_loss"]
    pd.testing.assert_frame_equal(resumed.history[columns], run.history[columns], check_exact=True)


SCRIPT = """
import signal
import sys
import torch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits that it is ignored
import mnistlab as ml
torch.set_num_threads(int(sys.argv[3]))
digits = ml.load_digits("train", "offline")[:640]
config = getattr(ml.TrainConfig, sys.argv[4])(epochs=2, batch_size=32, seed=3, dropout=True)
run = ml.fit(ml.CNN(), digits, config=config, state=sys.argv[1], save_every=0, show_progress=False)
run.save(sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("sent", "name"), [("SIGKILL", "best"), ("SIGINT", "quick")])
def test_resumed_after_a_kill(offline, tmp_path, sent, name):
    """A real process, killed twice at random moments; then left to finish."""
    state, out = tmp_path / "run.state", tmp_path / "run.safetensors"
    command = [sys.executable, "-c", SCRIPT, state, out, str(torch.get_num_threads()), name]
    steps, kills = 2 * (640 // 32), 0
    for _ in range(2):
        known = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == known):
                assert time.monotonic() < deadline, "nothing was saved"
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.3))
            process.send_signal(getattr(signal, sent))
            kills += process.wait(timeout=120) != 0
        finally:
            process.kill()  # does nothing to one that has ended
        assert 0 < torch.load(state, weights_only=True)["step"] <= steps  # whole, however the process ended
    assert kills
    subprocess.run(command, check=True, timeout=400)
    whole = fit(offline[:640], NAMED[name](epochs=2, batch_size=32, seed=3, dropout=True))
    assert equal(ml.load(out).model, whole.model)


def test_finished_state_gives_the_finished_run(offline, tmp_path):
    digits, state = offline[:64], tmp_path / "run.state"
    first = fit(digits, state=state)
    model, steps = ml.CNN(), []
    model.register_forward_hook(lambda *_: steps.append(1))
    again = ml.fit(model, digits, config=CONFIG, state=state, show_progress=False)
    assert equal(first.model, again.model) and not steps
    assert [p.name for p in tmp_path.iterdir()] == ["run.state"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"config": replace(CONFIG, learning_rate=0.01)}, "learning_rate"),
        ({"config": replace(CONFIG, precision="float32")}, "precision"),
        ({"seed": 1}, "initial weights"),
        ({"val": slice(64, 96)}, "validation digits"),
        ({"digits": slice(0, 96)}, "training digits"),
    ],
)
def test_state_of_another_run_is_refused_and_kept(offline, tmp_path, change, word):
    state = tmp_path / "run.state"
    fit(offline[:64], state=state)
    before = state.read_bytes()
    digits, config = offline[change.get("digits", slice(0, 64))], change.get("config", CONFIG)
    val = offline[change["val"]] if "val" in change else None
    with pytest.raises(ml.TrainingError, match=f"another run.*{word}"):
        fit(digits, config, change.get("seed", 0), val=val, state=state)
    assert state.read_bytes() == before


def test_state_from_another_number_of_threads_is_refused(offline, tmp_path, monkeypatch):
    """Sums in another order round differently, so the promise of equal bits could not be kept."""
    state = tmp_path / "run.state"
    fit(offline[:64], state=state)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    with pytest.raises(ml.TrainingError, match=r"another run.*hardware"):
        fit(offline[:64], state=state)


@pytest.mark.parametrize("content", [b"my diary", None])
def test_file_that_is_no_state_is_refused_and_kept(offline, tmp_path, content):
    state = tmp_path / "run.state"
    if content:
        state.write_bytes(content)
    else:
        torch.save(ml.CNN().state_dict(), state)
    before = state.read_bytes()
    with pytest.raises(ml.TrainingError, match="not an unfinished run"):
        fit(offline[:64], state=state)
    assert state.read_bytes() == before


def test_the_file_is_renewed_every_so_often(offline, tmp_path):
    """Every hour: not before the end; every 0 seconds: at the first row."""
    kept = []
    for seconds in (3600, 0):
        state = tmp_path / f"{seconds}.state"
        options = {"state": state, "save_every": seconds, "show_progress": False}
        seen: list[bool] = []

        def look(*_, state=state, seen=seen) -> None:
            seen.append(state.exists())

        ml.fit(ml.LeNet(), offline[:960], config=replace(CONFIG, crop=0.0), watch=look, **options)
        kept.append(seen.index(True) if True in seen else None)
        assert state.exists()
    assert kept == [None, 21]


def test_a_run_that_cannot_be_kept_goes_on(offline, tmp_path):
    folder = tmp_path / "runs"

    def take_away(step: int, _: torch.nn.Module) -> None:
        if step == 1:
            shutil.rmtree(folder)
            folder.write_text("no folder any more")

    with pytest.warns(UserWarning, match=r"The run goes on, but could not be kept at step \d+: .*runs"):
        run = fit(offline[:64], state=folder / "it", save_every=0, watch=take_away)
    assert equal(run.model, fit(offline[:64]).model)


def test_a_place_where_nothing_can_be_kept_is_known_at_once(offline, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ml.TrainingError, match=r"No state can be kept in .*file"):
        ml.fit(ml.CNN(), offline[:64], state=tmp_path / "file" / "it", watch=lambda *_: pytest.fail("it began"))


class Trap:
    def __reduce__(self):
        return os.mkdir, (Trap.path,)


def test_state_file_runs_no_code(offline, tmp_path):
    Trap.path = str(tmp_path / "trapped")
    torch.save({"identity": {}, "model": Trap()}, tmp_path / "run.state")
    with pytest.raises(ml.TrainingError, match="not an unfinished run"):
        fit(offline[:64], state=tmp_path / "run.state")
    assert not (tmp_path / "trapped").exists()


# what cannot be trained


def test_nan_stops_with_its_step_and_a_remedy(offline, tmp_path):
    """The 7th forward pass gives no number; nothing that is not a number is kept."""
    model, count = ml.CNN(), itertools.count(1)
    model.dense2.register_forward_hook(lambda _, __, output: output * (float("nan") if next(count) == 7 else 1))
    with pytest.raises(
        ml.TrainingError, match=r"The loss became nan at step 7\. Try a learning rate ten times smaller"
    ):
        ml.fit(model, offline[:640], config=CONFIG, state=tmp_path / "run.state", show_progress=False)
    assert not (tmp_path / "run.state").exists()


def test_divergence_in_the_last_step_is_no_success(offline, tmp_path):
    config = replace(CONFIG, learning_rate=1e38, warmup=0, precision="float32", batch_size=64)
    with pytest.raises(ml.TrainingError, match=r"(A weight|The loss) became .* at step \d\. Try"):
        fit(offline[:64], replace(config, epochs=2), state=tmp_path / "run.state")
    assert not (tmp_path / "run.state").exists()


def test_refusals(offline):
    unlabelled = ml.Digits(offline.images, None, "Kaggle")
    with pytest.raises(ml.TrainingError, match="without labels cannot teach"):
        fit(unlabelled)
    with pytest.raises(ml.TrainingError, match="without labels cannot teach or test"):
        fit(offline[:64], val=unlabelled)
    with pytest.raises(ml.TrainingError, match="without labels cannot teach or test"):
        fit(offline[:64], val=offline[:0])
    with pytest.raises(ml.DataError, match="without labels cannot be scored"):
        ml.evaluate(ml.CNN(), unlabelled)
    with pytest.raises(ml.DataError, match="no digits to score"):
        ml.evaluate(ml.CNN(), offline[:0])
    with pytest.raises(ml.TrainingError, match="at least two"):
        fit(offline[:1])
    with pytest.raises(ValueError, match="no device 'abacus'"):
        fit(offline[:64], replace(CONFIG, device="abacus"))


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"epochs": 0}, "a number above 0, not 0"),
        ({"epochs": -1.0}, "a number above 0, not -1.0"),
        ({"epochs": math.nan}, "a number above 0"),
        ({"epochs": True}, "a number above 0"),
        ({"epochs": "two"}, "a number above 0, not 'two'"),
        ({"muon": -0.1}, "a number of at least 0"),
        ({"momentum": 1.0}, "at least 0 and below 1, not 1.0"),
        ({"crop": 1.1}, "a number from 0 to 1"),
        ({"betas": (0.9,)}, "two numbers"),
        ({"betas": (0.9, 2)}, "two numbers"),
        ({"betas": None}, "two numbers"),
        ({"weight_decay": -1}, "a number of at least 0"),
        ({"augment": True}, "an Augmentation or None"),
        ({"seed": 1.5}, "a whole number"),
        ({"learning_rate": math.inf}, "a number above 0"),
        ({"learning_rate": "fast"}, "a number above 0"),
        ({"batch_size": 1}, "a whole number of at least 2"),
        ({"learning_rate": 0}, "a number above 0"),
        ({"warmup": 1.0}, "at least 0 and below 1"),
        ({"label_smoothing": 1}, "at least 0 and below 1"),
        ({"dropout": 0.5}, "True or False"),
        ({"precision": "int8"}, "one of auto, float64, float32, bfloat16"),
        ({"precision": []}, "one of"),
        ({"schedule": "steps"}, "one of triangle, cosine, constant, plateau"),
        ({"factor": 1}, "above 0 and below 1"),
        ({"patience": -1}, "a whole number of at least 0, not -1"),
        ({"judge": "accuracy"}, "loss or errors"),
        ({"keep": "all"}, "last or best"),
    ],
)
def test_config_refuses_nonsense_and_says_what_is_allowed(wrong, allowed):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"^{name} must be .*{re.escape(allowed)}"):
        ml.TrainConfig(**wrong)


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        CONFIG.epochs = 3


def test_fewer_digits_than_a_batch_make_one_batch(offline):
    run = fit(offline[:10], replace(CONFIG, epochs=2))
    assert list(run.history["step"]) == [1, 2]


def test_a_model_can_be_trained_further(offline):
    run = fit(offline[:320])
    errors = ml.evaluate(run.model, offline[:320]).errors
    more = ml.fit(run.model, offline[:320], config=replace(CONFIG, epochs=2), show_progress=False)
    assert more.model is run.model and ml.evaluate(more.model, offline[:320]).errors < errors


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc hands memory back so eagerly")
def test_freed_memory_is_kept_for_the_next_step(offline):
    """A page that the kernel must give and clear anew is a fault; kept memory makes next to none."""
    import resource

    fit(offline[:64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(2**26, dtype=torch.uint8).fill_(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    pages = 2**26 // resource.getpagesize()
    assert faults < 2 * pages  # handed back each time, it would be ten times as many
