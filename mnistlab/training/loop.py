"""The training loop, for a CPU, a GPU or Apple silicon, and the measure of what it taught."""

import io
import math
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import asdict
from hashlib import md5
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mnistlab.analysis.intervals import Evaluation
from mnistlab.analysis.scores import evaluate
from mnistlab.data.augmentation import augment
from mnistlab.data.digits import Digits, normalise
from mnistlab.hardware import autocast, choose_device, describe, keep_freed_memory
from mnistlab.paths import written_whole
from mnistlab.runs import Run
from mnistlab.training.config import TrainConfig
from mnistlab.training.progress import progress
from mnistlab.training.workers import from_first, shared_norms, total, workers

CROP = 24  # pixels: the last of three poolings leaves 3×3 cells of these as of 28
TICK = 20  # steps between two rows of the history
SAVE_SECONDS = 5.0  # between two saves of an unfinished run


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what to try."""


def learning_rate_at(step: int, steps: int, config: TrainConfig) -> float:
    """AdamW's learning rate of step 0 … steps − 1: straight up to the peak, straight down to (almost) zero."""
    peak = config.warmup * steps
    climbing, falling = (step + 1) / max(peak, 1), (steps - step) / max(steps - peak, 1)
    return config.learning_rate * min(climbing, falling, 1.0)


def fit(
    model: nn.Module,
    train: Digits,
    val: Digits | None = None,
    config: TrainConfig | None = None,
    *,
    state: str | Path | None = None,
    watch: Callable[[int, nn.Module], None] | None = None,
    show_progress: bool = True,
) -> Run:
    """Train `model` in place on `train` as `config` (default: TrainConfig()) says, and return the run.

    val: measured at the end of every epoch, never learned from.
    state: a file that keeps the unfinished run, renewed every few seconds. Where it exists already, the run
      goes on from it, and ends with the very weights it would have had without the interruption. It stays
      when the run is finished; delete it to train anew. Where the disk is full, the run goes on with a warning.
    watch: called with the number of steps done and the network, before the first step and after each; it may look
      at the network and copy it, and must leave it as it is.
    On one CPU, the same network, digits and config give bit-identical weights. On Linux the process keeps the
    memory that a step frees, for the next.
    Inside `workers.together`, every process calls this with the same arguments and takes its share of each batch;
    all end with the weights that one process would have had, but for rounding, and rank 0 alone writes `state`.
    Raises TrainingError where the loss stops being a number, or where `state` belongs to another run or
    its folder is closed.
    """
    config = config or TrainConfig()
    if train.labels is None or (val is not None and (val.labels is None or len(val) == 0)):
        raise TrainingError("Digits without labels cannot teach or test; take splits that have them.")
    if len(train) < 2:
        raise TrainingError("Batch normalisation needs at least two digits to train on.")
    rank, count = workers()
    if config.batch_size < 2 * count:
        raise TrainingError(f"Batches of {config.batch_size} are too small for {count} processes; take larger ones.")
    device = choose_device(config.device)
    identity = _identity(model, train, val, config, device)
    cast = autocast(config.precision, device)
    data = {"source": train.source, "split": train.split_name, "count": len(train), "md5": train.md5}
    train, val = train.to(device), val.to(device) if val is not None else None
    keep_freed_memory()
    number = torch.float64 if config.precision == "float64" else torch.float32
    model.to(device, number, memory_format=torch.channels_last)
    optimizers = _optimizers(model, config)
    peaks = [optimizer.defaults["lr"] for optimizer in optimizers]
    epoch_steps = max(1, len(train) // config.batch_size)  # a smaller last batch is left out: the next epoch shuffles
    steps = max(1, round(config.epochs * epoch_steps))
    step, seconds, history = 0, 0.0, []
    found = None
    if state is not None and rank == 0:
        found = _read_state(Path(state), identity)
        if found is None or found["step"] < steps:
            _need_place(Path(state).parent)
    if found := from_first(found):
        step, seconds, history = _resume(found, model, optimizers)
    replica = DistributedDataParallel(model) if count > 1 else model
    show = progress(steps, step) if show_progress and rank == 0 else None
    losses: list[Tensor] = []
    tick = epoch_steps if device.type == "cuda" else TICK  # asking a GPU for a number makes it wait
    started = saved = time.perf_counter()

    # Every draw of a step (augmentation, dropout) comes from the seed and the step's number alone, so that a
    # run can go on from any step without having lived through the ones before.
    with torch.random.fork_rng([device] if device.type == "cuda" else []), shared_norms(model):
        if watch:
            watch(step, model)
        while step < steps:
            epoch, done = divmod(step, epoch_steps)
            _train_mode(model, config)
            shuffle = torch.Generator().manual_seed(_draw(config, "order", epoch))
            last = min(epoch_steps, steps - epoch * epoch_steps)
            for images, labels in islice(train.batches(config.batch_size, shuffle), done, last):
                torch.manual_seed(_draw(config, "step", step))
                height = learning_rate_at(step, steps, config) / config.learning_rate
                for optimizer, peak in zip(optimizers, peaks, strict=True):
                    for group in optimizer.param_groups:
                        group["lr"] = peak * height
                if config.augment:
                    images = augment(images, config.augment)
                if step < config.crop * steps:
                    images = images[..., :CROP, :CROP]
                share = 1.0
                if count > 1:  # all drew the same variations of the whole batch; dropout is each one's own
                    share = len(labels[rank::count]) * count / len(labels)
                    images, labels = images[rank::count], labels[rank::count]
                    torch.manual_seed(_draw(config, f"step of worker {rank}", step))
                images = normalise(images).to(number, memory_format=torch.channels_last)
                try:
                    with cast:
                        logits = replica(images)
                except RuntimeError as error:
                    if step or not config.crop:
                        raise
                    raise TrainingError(
                        f"The network failed on crops of {CROP}×{CROP} pixels ({error}). If it takes none, set crop=0."
                    ) from error
                loss = share * F.cross_entropy(logits.to(number), labels, label_smoothing=config.label_smoothing)
                model.zero_grad(set_to_none=True)
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                step += 1
                losses.append(loss.detach())
                if watch:
                    watch(step, model)
                epoch_ends = step % epoch_steps == 0 or step == steps
                if step % tick and not epoch_ends:
                    continue

                history += _rows(total(torch.stack(losses)) / count, step, steps, epoch_steps, config)
                losses.clear()
                if not all(bool(p.isfinite().all()) for p in model.parameters()):
                    raise _diverged("A weight", "infinite or not a number", step)
                if epoch_ends:
                    if val is not None:
                        result = _evaluated_together(model, val, config.precision)
                        history[-1] |= {"val_loss": result.loss, "val_accuracy": result.accuracy}
                    history[-1]["seconds"] = seconds + time.perf_counter() - started
                saving = state is not None and rank == 0
                if saving and (step == steps or time.perf_counter() - saved > SAVE_SECONDS):
                    saved = time.perf_counter()
                    try:
                        _save_state(Path(state), identity, model, optimizers, step, seconds + saved - started, history)
                    except OSError as error:
                        warnings.warn(f"The run goes on, but could not be kept at step {step}: {error}", stacklevel=2)
                if show:
                    show(history)

    model.to("cpu", torch.float32, memory_format=torch.contiguous_format).eval()
    return Run(model, config, pd.DataFrame(history), data, describe(device, config.precision, workers().count))


def _train_mode(model: nn.Module, config: TrainConfig) -> None:
    model.train()
    if not config.dropout:
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.eval()


class _Muon(torch.optim.Muon):
    """PyTorch's Muon, which takes matrices only, on convolutions too: one row for each of their filters."""

    def __init__(self, weights: list[nn.Parameter], **options) -> None:
        self.weights = weights
        super().__init__([_matrix(weight.detach()) for weight in weights], **options)

    def step(self) -> None:
        for matrix, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        super().step()


def _matrix(weight: Tensor) -> Tensor:
    """A view of weights laid out channels_last, or of a dense layer's, as (outputs, inputs of one output)."""
    return weight.movedim(1, -1).view(len(weight), -1) if weight.ndim == 4 else weight


def _optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW, and before it Muon for the layers between the first and the last where the config wants it."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    inner = [layer.weight for layer in layers[1:-1] if config.muon and layer.weight.requires_grad]
    rest = [p for p in model.parameters() if all(p is not weight for weight in inner)]
    adamw = torch.optim.AdamW(
        rest, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    if not inner:
        return [adamw]
    return [_Muon(inner, lr=config.muon, momentum=config.momentum, weight_decay=0.0), adamw]


def _draw(config: TrainConfig, what: str, number: int) -> int:
    """A seed of 32 bits, which is all that PyTorch's CPU generator takes in."""
    return zlib.crc32(f"{config.seed} {what} {number}".encode())


def _rows(losses: Tensor, step: int, steps: int, epoch_steps: int, config: TrainConfig) -> list[dict]:
    """The history's rows for the losses of the steps up to `step`: one for every TICK of them, and one for the rest."""
    rows, since = [], []
    for number, loss in enumerate(losses.tolist(), start=step - len(losses) + 1):
        if not math.isfinite(loss):
            raise _diverged("The loss", str(loss), number)
        since.append(loss)
        if number % TICK == 0 or number == step:
            rows.append(
                {
                    "step": number,
                    "epoch": number / epoch_steps,
                    "learning_rate": learning_rate_at(number - 1, steps, config),
                    "train_loss": sum(since) / len(since),
                }
            )
            since = []
    return rows


def _diverged(what: str, value: str, step: int) -> TrainingError:
    return TrainingError(
        f"{what} became {value} at step {step}. Try a learning rate ten times smaller, a longer warmup, or "
        f"precision='float32'; and look at the images that go in."
    )


def _evaluated_together(model: nn.Module, val: Digits, precision: str) -> Evaluation:
    """Each worker scores its share."""
    rank, count = workers()
    errors, digits, loss = evaluate(model, val[rank::count] if count > 1 else val, precision=precision)
    if count == 1:
        return Evaluation(errors, digits, loss)
    device = next(model.parameters()).device
    errors, digits, loss = total(torch.tensor([errors, digits, loss * digits], device=device)).tolist()
    return Evaluation(round(errors), round(digits), loss / digits)


def _identity(model: nn.Module, train: Digits, val: Digits | None, config: TrainConfig, device: torch.device) -> dict:
    """What must be equal for an unfinished run to go on as if nothing had happened."""
    weights = md5()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return {name: repr(value) for name, value in asdict(config).items()} | {
        "epochs": f"{config.epochs:.15g}",  # 2 and 2.0 are one
        "initial weights (start from a new network, such as CNN(seed=…))": weights.hexdigest(),
        "training digits": train.md5,
        "validation digits": val.md5 if val is not None else "none",
        "torch": str(torch.__version__),
        "hardware": repr(describe(device, config.precision, workers().count)),
    }


def _save_state(
    path: Path,
    identity: dict,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    seconds: float,
    history: list[dict],
) -> None:
    state = {
        "identity": identity,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "seconds": seconds,
        "history": history,
    }
    content = io.BytesIO()  # on a full disk torch.save itself would speak of something else
    torch.save(state, content)
    with written_whole(path) as part:
        part.write_bytes(content.getbuffer())


def _need_place(folder: Path) -> None:
    """A folder that nothing can be written to is better known now than in an hour."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise TrainingError(f"No state can be kept in {folder} ({error.strerror}); name a folder of yours.") from error


def _read_state(path: Path, identity: dict) -> dict | None:
    """What `_save_state` wrote to `path`, or None where there is nothing."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        theirs = state["identity"]
    except Exception as error:
        raise TrainingError(
            f"{path} is not an unfinished run ({error}). Move it away, or name another file."
        ) from error
    other = [
        f"{name} ({theirs.get(name)} there, {value} here)"
        for name, value in identity.items()
        if theirs.get(name) != value
    ]
    if other:
        raise TrainingError(
            f"{path} belongs to another run: it differs in {'; '.join(other)}. "
            f"Name another file, or delete this one to start anew."
        )
    return state


def _resume(state: dict, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> tuple[int, float, list[dict]]:
    model.load_state_dict(state["model"])
    for optimizer, theirs in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(theirs)
    return state["step"], state["seconds"], state["history"]
