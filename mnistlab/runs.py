"""A trained network as a file: its weights (safetensors) and, beside them, a card (JSON) that says what it is."""

import datetime
import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
from hashlib import md5
from pathlib import Path

import pandas as pd
import safetensors
import torch
import torchvision
from safetensors.torch import load_file, save
from torch import Tensor, nn

import mnistlab
from mnistlab.analysis.predictions import Predictions, predict
from mnistlab.data.augmentation import Augmentation
from mnistlab.data.digits import Digits
from mnistlab.networks import models as networks
from mnistlab.paths import written_whole
from mnistlab.training.config import TrainConfig

CARD = {"arguments": dict, "config": dict, "metrics": dict, "data": dict, "hardware": dict, "versions": dict}
CARD |= {"history": list}  # what a card holds, beside plain words and numbers


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the difference and the remedy."""


@dataclass
class Run:
    """A trained network and how it came to be.

    model: on the CPU, in eval mode.  config: what it was trained with, or None where nobody said.
    history: one row every few steps (step, epoch, learning_rate, train_loss; at the end of an epoch also
    val_loss, val_accuracy).  data: source, size and MD5 of the digits.  hardware: device, threads, precision.
    metrics: what was measured on it; `save` writes it into the card, so add to it whatever you measure.
    """

    model: nn.Module
    config: TrainConfig | None = None
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    data: dict = field(default_factory=dict)
    hardware: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.versions = self.versions or {
            "mnistlab": mnistlab.__version__,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "python": platform.python_version(),
        }

    @property
    def temperature(self) -> float:
        """What the logits are divided by before softmax, so that a confidence means what it says; 1 if unmeasured."""
        return float(self.metrics.get("temperature", {}).get("value", 1.0))

    def predict(self, digits: Digits, batch_size: int = 1000) -> Predictions:
        """What the network says of every digit, its confidence calibrated by `temperature`."""
        return predict(self.model, digits, temperature=self.temperature, batch_size=batch_size)

    def save(self, path: str | Path) -> Path:
        """Write `path` (.safetensors) and its card (same name, .json), each whole; return `path`.

        Of several processes that save to one place at a time, the weights and the card of one remain.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise CheckpointError(f"A checkpoint is named *.safetensors, not {path.name}.")
        card = {
            "network": type(self.model).__name__,
            "arguments": getattr(self.model, "arguments", {}),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "config": asdict(self.config) if self.config else None,
            "metrics": self.metrics,
            "data": self.data,
            "hardware": self.hardware,
            "versions": self.versions,
            "date": datetime.date.today().isoformat(),
            "history": json.loads(self.history.to_json(orient="records", double_precision=6)),
        }
        weights = save({name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()})
        card["weights_md5"] = md5(weights).hexdigest()
        if fault := _fault(card):
            raise CheckpointError(f"The card of {path.name} {fault}. Put that right in the run, and save again.")
        text = _json(card)
        _write(path, weights, text)
        while _of_one_run(path.with_suffix(".json"), path) is False:  # another process saved in between
            _write(path, weights, text)
        return path


def load(path: str | Path) -> Run:
    """The run saved at `path`; of a folder that `mnistlab train` has written, its checkpoint.safetensors.

    A *.safetensors file is read with its card; without a card it must hold a CNN. Any other file (*.pth, *.pt)
    is taken for a state_dict of a CNN and read with weights_only=True, so that it can run no code.
    Raises CheckpointError where the file does not fit its network, naming each difference.
    """
    path = Path(path)
    if path.is_dir():
        path /= "checkpoint.safetensors"
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}. Train one with: python -m mnistlab train")
    weights = _weights(path)
    card_file = path.with_suffix(".json")
    card = _card(card_file, path) if path.suffix == ".safetensors" and card_file.is_file() else {"network": "CNN"}
    network = getattr(networks, str(card.get("network")), None)
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise CheckpointError(f"{card_file} names the network {card.get('network')!r}, which mnistlab does not have.")
    arguments = card.get("arguments") or {}
    try:
        with torch.device("meta"):  # shapes without numbers: a card that lies costs no memory
            _compare(network(**arguments), weights, path)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{card_file} names no {network.__name__} that can be made: {error}.") from error
    if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{path} holds numbers that are infinite or none, in {broken[0]}. Fetch it again.")
    model = network(**arguments)
    model.load_state_dict(weights)
    config = card.get("config")
    if config:
        try:
            limits = Augmentation(**config["augment"]) if config.get("augment") else None
            config = TrainConfig(**{**config, "augment": limits})
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{card_file} was written by another version of mnistlab: {error}.") from error
    parts = {name: card.get(name) or {} for name in ("data", "hardware", "metrics", "versions")}
    return Run(model.eval(), config or None, pd.DataFrame(card.get("history", [])), **parts)


def _weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except safetensors.SafetensorError as error:
            raise CheckpointError(
                f"{path} is truncated or not a safetensors file ({error}). Fetch it again."
            ) from error
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can end in almost any of them
        raise CheckpointError(
            f"{path} holds more than tensors, or is damaged, and was not opened, because such a file can run code. "
            f"Save it again as torch.save(model.state_dict(), path)."
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path} is not a state_dict. Save it again as torch.save(model.state_dict(), path).")
    return weights


def _write(path: Path, weights: bytes, card: str) -> None:
    card_file, before = path.with_suffix(".json"), _before(path)
    # Of two files one comes first. Whoever is killed between them finds the old card here, and a second save does
    # not put the card in its place that came without its weights.
    if _of_one_run(card_file, path):
        with written_whole(before) as part:
            part.write_bytes(card_file.read_bytes())
    try:
        with written_whole(path) as part, written_whole(card_file) as card_part:
            part.write_bytes(weights)
            card_part.write_text(card, encoding="utf-8")
    except Exception:
        if before.exists():
            os.replace(before, card_file)
        raise
    before.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    """Where the card of the checkpoint that was at `path` lies while another takes its place."""
    return path.with_name(f".{path.stem}.before.json")


def _of_one_run(card: Path, weights: Path) -> bool | None:
    """Whether the card is that of the weights; None where one of them cannot be read."""
    try:
        return _read_card(card)["weights_md5"] == md5(weights.read_bytes()).hexdigest()
    except (OSError, CheckpointError):
        return None


def _card(file: Path, weights: Path) -> dict:
    """The card in `file`; or, where a save was cut off before it put its weights in place, the one before it."""
    found = md5(weights.read_bytes()).hexdigest()
    card = _read_card(file)
    if card["weights_md5"] != found and _before(weights).is_file():
        card = _read_card(_before(weights))
    if card["weights_md5"] != found:
        raise CheckpointError(
            f"{file} belongs to other weights than {weights.name}. Fetch both again, or move it away."
        )
    return card


def _read_card(file: Path) -> dict:
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        card["weights_md5"]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{file} is not a card in valid JSON ({error}). Fetch it again with its weights."
        ) from error
    if fault := _fault(card):
        raise CheckpointError(f"{file} {fault}. Fetch it again.")
    return card


def _fault(card: dict) -> str | None:
    """What is wrong with a card's form, as the end of a sentence."""
    wrong = [name for name, kind in CARD.items() if not isinstance(card.get(name) or kind(), kind)]
    if wrong or not all(isinstance(row, dict) for row in card.get("history") or []):
        return f"says {wrong[0] if wrong else 'history'} in a form that no card has"
    value = (card.get("metrics") or {}).get("temperature", {"value": 1.0})
    if not (isinstance(value, dict) and type(value.get("value")) in (int, float) and 0 < value["value"] < math.inf):
        return "gives a temperature that is no number above 0"
    return None


def _compare(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    expected = model.state_dict()
    said = [f"lacks {name}" for name in expected if name not in weights]
    said += [f"has {name}, which the network has not" for name in weights if name not in expected]
    said += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if said:
        more = f"; and {len(said) - 5} more differences" if len(said) > 5 else ""
        raise CheckpointError(f"{path} does not fit {type(model).__name__}: {'; '.join(said[:5])}{more}.")


def _json(card: dict) -> str:
    """Readable JSON, with the history one row a line."""
    rows = card.pop("history")
    text = json.dumps(card, indent=2, ensure_ascii=False)
    history = ",\n".join("    " + json.dumps(row) for row in rows)
    return f'{text[:-2]},\n  "history": [\n{history}\n  ]\n}}\n'
