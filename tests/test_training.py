import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

import mnistlab as ml
from mnistlab import training

CONFIG = ml.TrainConfig(batch_size=32, learning_rate=2e-3, seed=3)


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
        got = training.learning_rate_at(step, steps, config)
        assert got == pytest.approx(one_cycle.get_last_lr()[0], abs=0.01 / (warmup * steps) * 1.5)
        optimizer.step()
        one_cycle.step()


def test_schedule_without_warmup_starts_at_the_peak():
    config = ml.TrainConfig(learning_rate=0.01, warmup=0)
    assert training.learning_rate_at(0, 10, config) == 0.01
    assert training.learning_rate_at(9, 10, config) == pytest.approx(0.001)


@pytest.mark.parametrize(("right", "count"), [(9950, 10000), (10, 10), (0, 7), (3, 8)])
def test_wilson_by_hand(right, count):
    z, share = 1.959963984540054, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    assert training.wilson(right, count) == pytest.approx((middle - half, middle + half), abs=1e-12)


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


def test_fit_agrees_with_a_plain_loop(offline):
    """The whole set as one batch, in float32: only the order of the sums can differ from PyTorch's own words."""
    digits, epochs = offline[:200], 6
    config = ml.TrainConfig(
        epochs=epochs,
        batch_size=200,
        learning_rate=1e-4,
        augment=None,
        label_smoothing=0.1,
        precision="float32",
    )
    run = fit(digits, config)
    model = ml.CNN(0).train()
    for layer in (model.drop1, model.drop2, model.drop3, model.drop4):
        layer.eval()
    optimizer = torch.optim.AdamW(model.parameters(), betas=config.betas, weight_decay=config.weight_decay)
    losses = []
    for step in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate_at(step, epochs, config)
        loss = F.cross_entropy(model(ml.normalise(digits.images)), digits.labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert list(run.history["train_loss"]) == pytest.approx(losses, abs=2e-3)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], tensor, atol=1e-3, rtol=0.02)


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
