"""A trained network as one file: its weights (safetensors), and in the file's header a card that says what it is."""

import datetime
import json
import math
import platform
import warnings
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import md5
from html import escape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from mnistlab import __version__
from mnistlab.analysis.predictions import Predictions, predict
from mnistlab.data.augmentation import Augmentation
from mnistlab.data.digits import TEN, DataError, Digits, numbered
from mnistlab.networks import models as networks
from mnistlab.networks.inference import logits
from mnistlab.paths import written_whole
from mnistlab.reading.familiarity import Familiarity
from mnistlab.training.config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

FACTS = ("data", "hardware", "metrics", "versions")  # fields of Run that are in the card as they are
KINDS = dict.fromkeys((*FACTS, "arguments", "config"), dict) | {
    "history": list,
    "classes": list,
}  # plain words and numbers apart
LONGEST = 1000  # characters of a network's arguments; a card must not make us build a million layers
FAMILIAR = "familiar."  # begins the names of the tensors that are not the network's
KNOWN = ("conv1.weight", "dense1.weight", "members.0.conv1.weight")  # one of these is in each of our networks
OURS = (networks.Network, networks.Ensemble)
OWN = "Is it a network of your own? Then give that, too: load(path, model=…)."


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the difference and the remedy."""


def weights_md5(tensors: Mapping[str, Tensor]) -> str:
    """What identifies exactly these weights: the MD5 of their names and bytes, in the order of the names."""
    digest = md5()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().flatten()
        digest.update(name.encode() + values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _no_rows() -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame()


def _versions() -> dict[str, Any]:
    return {
        "mnistlab": __version__,
        "torch": str(torch.__version__),
        "torchvision": metadata.version("torchvision"),  # importing it for this alone would take a second
        "python": platform.python_version(),
    }


@dataclass(repr=False)
class Run:
    """A trained network and how it came to be. In a notebook it shows itself as a small table.

    model: on the CPU, in eval mode.  config: what it was trained with, or None where nobody said.
    history: one row every few steps (step, epoch, learning_rate, train_loss; at the end of an epoch also
    val_loss, val_accuracy).  data: source, size and MD5 of the digits.  hardware: device, threads, precision.
    metrics: what was measured on it; `save` writes it into the card, so add to it whatever you measure.
    date: of the training.  familiar: how the digits that it learned look to it, so that `Predictor` can warn of others.
    classes: the name of each answer, from 0 up.
    """

    model: nn.Module
    config: TrainConfig | None = None
    history: "pd.DataFrame" = field(default_factory=_no_rows)
    data: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=_versions)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    familiar: Familiarity | None = None
    classes: tuple[str, ...] = TEN

    @property
    def temperature(self) -> float:
        """What the logits are divided by before softmax, so that a confidence means what it says; 1 if unmeasured."""
        return float(self.metrics.get("temperature", {}).get("value", 1.0))

    @property
    def kept(self) -> str:
        """Where the validation digits decided: which epoch's weights these are, of how many, as a sentence."""
        found = self.metrics.get("epochs")
        numbers = [found.get(name) for name in ("kept", "of", "done", "planned")] if isinstance(found, dict) else [None]
        if not (isinstance(found, dict) and all(isinstance(number, int | float) for number in numbers)):
            return ""
        said = [f"stopped after {found['done']:g} of {found['planned']:g} epochs"] * (found["done"] != found["planned"])
        if self.config and self.config.keep == "best":
            said.append(
                f"epoch {found['kept']} of {found['of']} was kept, judged by the validation {found.get('judge')}"
            )
        return "; ".join(said)

    def predict(self, digits: Digits, batch_size: int = 100) -> Predictions:
        """What the network says of every digit, its confidence calibrated by `temperature`.

        DataError for labelled digits of other classes than those that the network learned.
        """
        if digits.labels is not None and digits.classes != self.classes:
            said = f"The network knows {', '.join(self.classes)}; these are {', '.join(digits.classes)}."
            raise DataError(f"{said} replace(digits, labels=None) gives its answers all the same.")
        return predict(self.model, digits, temperature=self.temperature, batch_size=batch_size, classes=self.classes)

    def card(self) -> dict[str, Any]:
        """All that is known of the network but its weights, in plain words and numbers, as `save` writes it."""
        return {
            "network": type(self.model).__name__,
            "arguments": self.model.arguments if isinstance(self.model, OURS) else {},
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "classes": list(self.classes),
            "config": asdict(self.config) if self.config else None,
            **{name: getattr(self, name) for name in FACTS},
            "date": self.date,
            "weights_md5": weights_md5(self._tensors()),
            "history": json.loads(self.history.to_json(orient="records", double_precision=6)),
        }

    def save(self, path: str | Path) -> Path:
        """Write it whole to `path`, a .safetensors file, with the card as "card" in its metadata; return `path`."""
        path = Path(path)
        if path.suffix != ".safetensors":
            raise CheckpointError(f"A checkpoint is named *.safetensors, not {path.name}.")
        card = self.card()
        if fault := _fault(card):
            raise CheckpointError(f"The card of {path.name} {fault}. Put that right in the run, and save again.")
        content = save(self._tensors(), metadata={"card": json.dumps(card)})
        with written_whole(path) as part:
            part.write_bytes(content)
        return path

    def _tensors(self) -> dict[str, Tensor]:
        familiar = self.familiar.tensors() if self.familiar else {}
        tensors = self.model.state_dict() | {FAMILIAR + name: tensor for name, tensor in familiar.items()}
        return {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}  # two may share memory

    def _facts(self) -> dict[str, str]:
        """What a reader wants to know first. A card that somebody else wrote may hold anything."""
        facts = {
            "network": f"{type(self.model).__name__}, {sum(p.numel() for p in self.model.parameters()):,} parameters",
            "learned from": _listed(self.data, "count", "source", "split"),
            "classes": "" if self.classes == TEN else ", ".join(self.classes),
            "epochs": f"{self.config.epochs:g}" if self.config else "",
            "kept": self.kept,
        }
        for name, found in self.metrics.items():
            if isinstance(found, dict) and {"errors", "count"} <= set(found):
                facts[name] = f"{_listed(found, 'errors')} of {_listed(found, 'count')} read incorrectly"
            elif isinstance(found, dict) and name == "temperature":
                facts[name] = _listed(found, "value")
        return {name: fact for name, fact in facts.items() if fact}

    def __repr__(self) -> str:
        return " ".join(f"Run({'; '.join(f'{name}: {fact}' for name, fact in self._facts().items())})".split())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(fact)}</td></tr>" for name, fact in self._facts().items())
        return f"<table>{''.join(rows)}</table>"


def load(path: str | Path, model: nn.Module | None = None) -> Run:
    """The run saved at `path`; of a folder that `mnistlab train` has written, its checkpoint.safetensors.

    model: a network of your own, which gets the weights; by default it is one of mnistlab's, named by the card, or,
      where there is no card, the one that the weights fit.
    A file that is no *.safetensors (*.pth, *.pt) may hold a state_dict, or a table with one in it, as many programs
    save. It is read with weights_only=True, so that it can run no code. What had to be taken off to find the weights,
    such as a "module." before every name, is said in a warning.
    Raises CheckpointError where the file does not fit the network, naming each difference.
    """
    import pandas as pd

    path = Path(path)
    if path.is_dir():
        path /= "checkpoint.safetensors"
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}. Train one with: python -m mnistlab train")
    tensors, card = _read(path) if path.suffix == ".safetensors" else (_read_pickle(path), {})
    if card and card.get("weights_md5") != weights_md5(tensors):
        raise CheckpointError(f"{path} is damaged: its card was written for other weights. Fetch it again.")
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(FAMILIAR)}
    familiar = {name.removeprefix(FAMILIAR): tensors[name].clone() for name in tensors if name not in weights}
    try:
        if model is not None:
            name, expected = type(model).__name__, model.state_dict()
            weights = _unprefixed(path, weights, set(expected))
        else:
            weights = weights if card else _unprefixed(path, weights, KNOWN)
            network, arguments = _named(path, card) if card else _fitting(weights)
            name, expected = network.__name__, _shapes(network, arguments)
        run = Run(nn.Identity(), _config(card.get("config")), pd.DataFrame(card.get("history") or []))
        run.familiar = Familiarity.from_tensors(familiar) if familiar else None
    except CheckpointError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} is wrong, or of another version of mnistlab: {error}.") from error
    if said := _differences(expected, weights):
        more = f"; and {len(said) - 5} more differences" if len(said) > 5 else ""
        own = "" if model is not None else f" {OWN}"
        raise CheckpointError(f"{path} does not fit {name}: {'; '.join(said[:5])}{more}.{own}")
    if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{path} holds numbers that are infinite or none, in {broken[0]}. Fetch it again.")
    run.model = (network(**arguments) if model is None else model).cpu().eval()
    run.model.load_state_dict(weights)
    run.data, run.hardware, run.metrics, run.versions = (card.get(name) or {} for name in FACTS)
    run.date = str(card.get("date") or "")
    run.classes = tuple(card.get("classes") or _numbered(run.model))
    return run


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the card of a safetensors file; an empty card where it has none."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("card")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file ({error}). Fetch it again.") from error
    if text is None:
        return tensors, {}
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The card of {path} is not valid JSON ({error}). Fetch it again.") from error
    if fault := _fault(card):
        raise CheckpointError(f"The card of {path} {fault}. Fetch it again.")
    return tensors, card


def _named(path: Path, card: dict[str, Any]) -> tuple[type[nn.Module], dict[str, Any]]:
    """The network that a card names, and what to call it with."""
    network = getattr(networks, str(card.get("network", "CNN")), None)
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise CheckpointError(f"{path} names the network {card.get('network')!r}, which mnistlab does not have. {OWN}")
    return network, card.get("arguments") or {}


def _fitting(weights: dict[str, Tensor]) -> tuple[type[nn.Module], dict[str, Any]]:
    """The network of ours that these weights without a card fit, and what to call it with; a CNN where none does."""
    *hidden, classes = [
        len(tensor) for name, tensor in weights.items() if "dense" in name and name.endswith("weight")
    ] or [10]
    if not 2 <= classes <= 1000:
        return networks.CNN, {}
    members = {name.split(".")[1] for name in weights if name.startswith("members.")}
    likely: list[tuple[type[nn.Module], dict[str, Any]]] = [(network, {}) for network in networks.RELATIVES]
    likely += [(networks.MLP, {"hidden": hidden})] if hidden else []
    likely += [(networks.Ensemble, {"members": len(members)})] if members else []
    likely = [(network, {"classes": classes} | arguments) for network, arguments in likely]
    return next((one for one in likely if not _differences(_shapes(*one), weights)), likely[0])


def _numbered(model: nn.Module) -> tuple[str, ...]:
    """The names of classes that nobody has named."""
    if isinstance(model, OURS):
        return numbered(model.arguments["classes"])
    try:
        return numbered(logits(model, torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape[1])
    except Exception:  # a network of somebody's own can fail in any way, and will say so when it's used
        return TEN


def _shapes(network: type[nn.Module], arguments: dict[str, Any]) -> dict[str, Tensor]:
    """What its state_dict would be, as shapes without numbers, so that a card that lies costs no memory."""
    with torch.device("meta"):
        return network(**arguments).state_dict()


def _unprefixed(path: Path, weights: dict[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """Without what DataParallel ("module."), torch.compile ("_orig_mod.") or a wrapper put before every name."""
    short, taken = weights, ""
    while short and not any(name in known for name in short):
        firsts = {name.partition(".")[0] for name in short}
        if len(firsts) > 1 or not all("." in name for name in short):
            return weights
        taken += f"{(first := firsts.pop())}."
        short = {name.removeprefix(f"{first}."): tensor for name, tensor in short.items()}
    if taken:
        warnings.warn(f'{path}: "{taken}" was taken off the beginning of every name.', stacklevel=3)
    return short


def _read_pickle(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        if file.read(2) not in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"):
            raise CheckpointError(f"{path} is damaged, or no file of weights: it doesn't begin as PyTorch's files do.")
    try:
        weights: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can end in almost any of them
        raise CheckpointError(
            f"{path} holds more than tensors, or is damaged, and was not opened, because such a file can run code. "
            f"Save it again as torch.save(model.state_dict(), path)."
        ) from error
    if _is_state_dict(weights):
        return weights
    inside = [name for name, part in weights.items() if _is_state_dict(part)] if isinstance(weights, dict) else []
    if len(inside) > 1:
        inside = [name for name in inside if name in ("model_state_dict", "state_dict", "model")][:1] or inside
    if len(inside) > 1:
        raise CheckpointError(
            f"{path} holds the weights of several networks ({', '.join(inside)}). Save the one you want: "
            f"torch.save(torch.load(path)[{inside[0]!r}], 'one.pth')."
        )
    if not inside:
        raise CheckpointError(f"{path} is not a state_dict. Save it again as torch.save(model.state_dict(), path).")
    warnings.warn(f"{path}: of all that it holds, only {inside[0]!r} was read, the network's weights.", stacklevel=3)
    found: dict[str, Tensor] = weights[inside[0]]
    return found


def _is_state_dict(part: Any) -> bool:
    pairs = part.items() if isinstance(part, dict) else ()
    return bool(pairs) and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in pairs)


def _fault(card: Any) -> str | None:
    """What is wrong with a card's form, as the end of a sentence."""
    if not isinstance(card, dict):
        return "is no table of names and values"
    wrong = [name for name, kind in KINDS.items() if not isinstance(card.get(name) or kind(), kind)]
    wrong += ["arguments"] * (len(str(card.get("arguments"))) > LONGEST)
    names = card.get("classes") or TEN
    if not wrong and not (len(set(map(str, names))) == len(names) > 1 and all(isinstance(name, str) for name in names)):
        wrong = ["classes"]
    if wrong or not all(isinstance(row, dict) for row in card.get("history") or []):
        return f"says {wrong[0] if wrong else 'history'} in a form that no card has"
    value = (card.get("metrics") or {}).get("temperature", {"value": 1.0})
    if not (isinstance(value, dict) and type(value.get("value")) in (int, float) and 0 < value["value"] < math.inf):
        return "gives a temperature that is no number above 0"
    return None


def _config(said: dict[str, Any] | None) -> TrainConfig | None:
    if not said:
        return None
    return TrainConfig(**said | {"augment": Augmentation(**said["augment"]) if said.get("augment") else None})


def _differences(expected: dict[str, Tensor], weights: dict[str, Tensor]) -> list[str]:
    said = [f"lacks {name}" for name in expected if name not in weights]
    said += [f"has {name}, which the network doesn't have" for name in weights if name not in expected]
    return said + [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]


def _listed(facts: dict[str, Any], *names: str) -> str:
    """Those of the named facts that are known, numbers with three decimals at most."""
    found = [facts[name] for name in names if facts.get(name) not in (None, "")]
    return ", ".join(f"{round(fact, 3):,}" if isinstance(fact, int | float) else str(fact) for fact in found)
