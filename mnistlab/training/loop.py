"""The training loop, for a CPU, a GPU or Apple silicon."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mnistlab.analysis.scores import evaluate
from mnistlab.data.augmentation import augment
from mnistlab.data.digits import Digits, standardised
from mnistlab.hardware import autocast, choose_device, describe, keep_freed_memory
from mnistlab.networks.hooks import evaluating
from mnistlab.networks.inference import NetworkError, lay_out, rows
from mnistlab.networks.layers import DROPOUTS
from mnistlab.runs import Run
from mnistlab.training.config import TrainConfig
from mnistlab.training.optimizers import make_optimizers
from mnistlab.training.progress import progress
from mnistlab.training.schedules import best
from mnistlab.training.state import State, TrainingError, identity
from mnistlab.training.workers import shared_norms, total, workers

CROP = 24  # pixels: the last of three poolings leaves 3×3 cells of these as of 28


def fit(
    model: nn.Module,
    train: Digits,
    val: Digits | None = None,
    config: TrainConfig | None = None,
    *,
    state: str | Path | None = None,
    save_every: float = 5.0,
    row_every: int = 20,
    watch: Callable[[int, nn.Module], None] | None = None,
    show_progress: bool = True,
) -> Run:
    """Train `model` in place on `train` as `config` (default: TrainConfig()) says, and return the run.

    val: measured at the end of every epoch, never learned from.
    state: a file that keeps the unfinished run, renewed when `save_every` seconds have passed. Where it exists
      already, the run goes on from it, and ends with the very weights it would have had without the interruption.
      It stays when the run is finished; delete it to train anew. If the disk is full, the run goes on with a warning.
    row_every: steps between two rows of the run's history; the end of an epoch always has one.
    watch: called with the number of steps done and the network, before the first step and after each; it may look
      at the network and copy it, and must leave it as it is.
    On one CPU, the same network, digits and config give bit-identical weights. On Linux the process keeps the
    memory that a step frees for the next step, and goes on doing so after the run.
    Inside `workers.together`, every process calls this with the same arguments and takes its share of each batch;
    all end with the weights that one process would have had, but for rounding, and rank 0 alone writes `state`.
    Raises NetworkError if the network is made for other pictures or other classes than these, and TrainingError if it
    takes no crops but the config wants them, if the loss stops being a number, or if `state` belongs to another run or
    its folder is closed.
    """
    import pandas as pd

    config = config or TrainConfig()
    rank, count = workers()
    _check(train, val, config, count)
    device = choose_device(config.device)
    number = torch.float64 if config.precision == "float64" else torch.float32
    this_run = identity(model, train, val, config, device)
    data = {"source": train.source, "split": train.split_name, "count": len(train), "md5": train.md5}
    data |= {"form": train.form} if train.form != "mnist" else {}
    train, val = train.to(device), None if val is None else val.to(device)
    epoch_steps = max(1, len(train) // config.batch_size)  # a smaller last batch is left out: the next epoch shuffles
    steps = max(1, round(config.epochs * epoch_steps))
    cast = autocast(config.precision, device)
    losses: list[Tensor] = []
    keep_freed_memory()

    generators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(generators), shared_norms(model), ExitStack() as stack:
        layout = lay_out(model.to(device, number))
        if config.crop:
            _try_crops(model)
        optimizers = make_optimizers(model, config)
        run = stack.enter_context(State(state, [model, *optimizers], this_run, steps, save_every))
        replica = DistributedDataParallel(model) if count > 1 else model
        show = progress(steps, run.step) if show_progress and rank == 0 else None
        if watch:
            watch(run.step, model)
        _train_mode(model, config)
        measured = _judged(run.history, config)
        left = range(run.step, run.step if config.ends(run.step, steps, measured) else steps)
        for images, labels, share in _batches(train, config, left, epoch_steps):
            rate = config.learning_rate_at(run.step, steps, measured)
            for optimizer in optimizers:
                optimizer.param_groups[0]["lr"] = optimizer.defaults["lr"] * rate / config.learning_rate
            with cast:
                logits = replica(images.to(number, memory_format=layout))
            if rows(type(model).__name__, logits).shape != (len(labels), len(train.classes)):
                raise NetworkError(_other_answers(model, tuple(logits.shape[1:]), len(train.classes)))
            loss = share * F.cross_entropy(logits.to(number), labels, label_smoothing=config.label_smoothing)
            model.zero_grad(set_to_none=True)
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            run.step += 1
            losses.append(loss.detach())
            if watch:
                watch(run.step, model)
            epoch_ends = run.step % epoch_steps == 0 or run.step == steps
            if run.step % row_every and not epoch_ends:
                if show:
                    show(run.step, run.history, False)
                continue

            values = (total(torch.stack(losses)) / count).tolist()
            losses.clear()
            _check_numbers(model, values, run.step)
            row = {"step": run.step, "epoch": run.step / epoch_steps, "learning_rate": rate}
            run.history.append(row | {"train_loss": sum(values) / len(values)})
            if epoch_ends:
                run.history[-1] |= _measured(model, val, config.precision) | {"seconds": run.seconds}
                measured = _judged(run.history, config)
                if config.keep == "best" and best(measured) == len(measured) - 1:
                    run.best = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
            ended = config.ends(run.step, steps, measured)
            run.keep(ended)
            if show:
                show(run.step, run.history, ended)
            if ended:
                break

    if config.keep == "best":
        model.load_state_dict(run.best)
    model.to("cpu", torch.float32).to(memory_format=torch.contiguous_format).eval()
    done = config.epochs if run.step == steps else run.step / epoch_steps
    metrics = {"epochs": _kept(measured, config, done)} if config.needs_val else {}
    history = pd.DataFrame(run.history)
    hardware = describe(device, config.precision, count)
    return Run(model, config, history, data, hardware, metrics, classes=train.classes)


def _other_answers(model: nn.Module, given: tuple[int, ...], classes: int) -> str:
    numbers = "×".join(map(str, given))
    said = f"{type(model).__name__} gives {numbers} numbers for each picture, and here are {classes} classes."
    return f"{said} Make it with {classes} outputs, as CNN(classes={classes}) is."


def _judged(history: list[dict[str, Any]], config: TrainConfig) -> list[float]:
    """What each epoch so far is judged by, the smaller the better; nothing where there are no validation digits."""
    epochs = [row for row in history if "val_loss" in row]
    return [row["val_loss"] if config.judge == "loss" else 1 - row["val_accuracy"] for row in epochs]


def _kept(measured: list[float], config: TrainConfig, epochs: float) -> dict[str, Any]:
    """For the card: which epoch's weights were kept, of how many, and what they were judged by."""
    kept = best(measured) + 1 if config.keep == "best" else len(measured)
    return {"kept": kept, "of": len(measured), "judge": config.judge, "done": epochs, "planned": config.epochs}


def _check(train: Digits, val: Digits | None, config: TrainConfig, processes: int) -> None:
    if train.labels is None or (val is not None and (val.labels is None or len(val) == 0)):
        raise TrainingError("Digits without labels cannot teach or test; take splits that have them.")
    if val is not None and val.classes != train.classes:
        raise TrainingError("The training and the validation digits have different classes; take two parts of one set.")
    if val is None and config.needs_val:
        raise TrainingError(
            "This schedule, patience or keep='best' asks for validation digits: fit(model, train, val)."
        )
    if len(train) < 2:
        raise TrainingError("Batch normalisation needs at least two digits to train on.")
    if min(config.batch_size, len(train)) < 2 * processes:
        raise TrainingError(f"{processes} processes need batches of at least {2 * processes} digits.")
    if val is not None and len(val) < processes:
        raise TrainingError(f"{processes} processes need at least {processes} validation digits.")


def _try_crops(model: nn.Module) -> None:
    """TrainingError if the network takes whole digits but no crops of them, as two blank ones show."""
    takes: bool | None = getattr(model, "takes_crops", None)
    if takes is None:
        weight = next(model.parameters())
        with evaluating(model), torch.no_grad():
            expected = rows(type(model).__name__, model(weight.new_zeros(2, 1, 28, 28))).shape
            try:
                takes = model(weight.new_zeros(2, 1, CROP, CROP)).shape == expected
            except torch.OutOfMemoryError:
                raise
            except Exception:  # a network of somebody's own can fail in any way
                takes = False
    if not takes:
        raise TrainingError(
            f"{type(model).__name__} takes no crops of {CROP}×{CROP} pixels. Train it with TrainConfig(crop=0)."
        )


def _train_mode(model: nn.Module, config: TrainConfig) -> None:
    model.train()
    if not config.dropout:
        for layer in model.modules():
            if isinstance(layer, DROPOUTS):
                layer.eval()


def _batches(
    train: Digits, config: TrainConfig, steps: range, epoch_steps: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """For each step (images, labels, weight of its loss): this process's share of the batch, as the network sees it.

    Every draw of a step (augmentation, dropout) comes from the seed and the step's number alone, so that a run can
    go on from any step without having lived through the ones before.
    """
    rank, count = workers()
    step = steps.start
    while step < steps.stop:
        epoch, done = divmod(step, epoch_steps)
        shuffle = torch.Generator().manual_seed(_draw(config, "order", epoch))
        last = min(epoch_steps, steps.stop - epoch * epoch_steps)
        for images, labels in islice(train.batches(config.batch_size, shuffle), done, last):
            torch.manual_seed(_draw(config, "step", step))
            if config.augment:
                images = augment(images, config.augment)
            if step < config.crop * steps.stop:
                images = images[..., :CROP, :CROP]
            share = 1.0
            if count > 1:  # all drew the same variations of the whole batch; dropout is each one's own
                share = len(labels[rank::count]) * count / len(labels)
                images, labels = images[rank::count], labels[rank::count]
                torch.manual_seed(_draw(config, f"step of worker {rank}", step))
            yield standardised(images), labels, share
            step += 1


def _draw(config: TrainConfig, what: str, number: int) -> int:
    """A seed of 32 bits, which is all that PyTorch's CPU generator takes in."""
    return zlib.crc32(f"{config.seed} {what} {number}".encode())


def _check_numbers(model: nn.Module, losses: list[float], step: int) -> None:
    """TrainingError if one of the last losses, up to `step`, or a weight is not a finite number."""
    numbered = enumerate(losses, step - len(losses) + 1)
    faults = [f"The loss became {loss} at step {number}" for number, loss in numbered if not isfinite(loss)]
    if not faults and not torch.stack([weight.isfinite().all() for weight in model.parameters()]).all():
        faults = [f"A weight became infinite or not a number at step {step}"]
    if faults:
        raise TrainingError(
            f"{faults[0]}. Try a learning rate ten times smaller, a longer warmup, or precision='float32'; "
            f"and look at the images that go in."
        )


def _measured(model: nn.Module, val: Digits | None, precision: str) -> dict[str, float]:
    """Loss and accuracy on the validation digits, if there are any; each process scores its share of them."""
    if val is None:
        return {}
    rank, count = workers()
    errors, digits, loss = map(float, evaluate(model, val[rank::count], precision=precision))
    if count > 1:
        sums = torch.tensor([errors, digits, loss * digits], device=next(model.parameters()).device)
        errors, digits, loss = total(sums).tolist()
        loss /= digits
    return {"val_loss": loss, "val_accuracy": 1 - errors / digits}
