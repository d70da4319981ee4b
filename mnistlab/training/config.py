"""What a training run is told."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mnistlab.data.augmentation import Augmentation
from mnistlab.training.schedules import SCHEDULES, exhausted


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, apart from the network and the digits.

    epochs: times through the training set; 0.5 stops half-way through.
    muon: peak learning rate of Muon (with `momentum`; mnistlab.training.optimizers.Muon), which moves the weights of
    every convolution and dense layer but the first and the last by a step of about equal size in all directions;
    0 leaves them to AdamW too.  learning_rate, betas, weight_decay: AdamW's, for all the rest.
    schedule: how both learning rates change. "triangle" takes them in a straight line to their peak over the first
    `warmup` of all steps, then in a straight line to zero; "cosine" comes down in half a wave; "constant" stays at the
    peak from the first step on; "plateau" multiplies them by `factor` when more than `wait` epochs have brought no
    smaller `judge`.
    judge: what each epoch is judged by, on the validation digits: "loss" or "errors".
    patience: stop after this many epochs without a smaller `judge`, but not while there are crops; 0 never stops early.
    keep: "last" keeps the weights of the last epoch, "best" those of the epoch with the smallest `judge`.
    crop: for this first share of the steps the network is shown 24×24 pixels of each digit, a quarter less work;
    the others get it used to the whole. A network whose dense layers take only 28×28 needs crop=0.
    label_smoothing: share of the target spread evenly over the ten digits.
    augment: how far each digit is moved at random, or None.  dropout: False leaves the dropout layers idle.
    seed: order of the digits, augmentation and dropout (the initial weights have their own: CNN(seed=…)).
    device: "auto" takes CUDA, else Apple's MPS, else the CPU.
    precision: "bfloat16", "float32", "float64" (slow, for comparing runs), or "auto": bfloat16 where the hardware
    computes in it.
    Raises ValueError, naming what is allowed, for any other value.
    """

    epochs: float = 2
    batch_size: int = 256
    learning_rate: float = 8e-3
    schedule: str = "triangle"
    warmup: float = 0.1
    factor: float = 0.3
    wait: int = 1
    judge: str = "loss"
    patience: int = 0
    keep: str = "last"
    betas: tuple[float, float] = (0.85, 0.99)
    weight_decay: float = 0.01
    muon: float = 0.3
    momentum: float = 0.6
    crop: float = 0.7
    label_smoothing: float = 0.05
    augment: Augmentation | None = field(default_factory=Augmentation)
    dropout: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    @classmethod
    def quick(cls, **changes: Any) -> "TrainConfig":
        """Two fifths of an epoch: seconds on two CPU cores."""
        light = Augmentation(degrees=5, scale=0.05, shear=0.08, shift=1)
        return replace(cls(epochs=0.4, batch_size=128, muon=0.6, augment=light), **changes)

    @classmethod
    def best(cls, **changes: Any) -> "TrainConfig":
        """The recipe of the shipped network: minutes on two CPU cores."""
        return replace(cls(epochs=8), **changes)

    def learning_rate_at(self, step: int, steps: int, measured: Sequence[float] = ()) -> float:
        """AdamW's learning rate of step 0 … steps − 1; Muon's is the same share of its own peak.

        measured: the `judge` of each epoch so far, which only "plateau" asks for.
        """
        return self.learning_rate * SCHEDULES[self.schedule](self, step, steps, measured)

    def ends(self, step: int, steps: int, measured: Sequence[float]) -> bool:
        """Whether a run is over after `step` of `steps` steps: all are done, or its patience is at an end."""
        return step == steps or (step >= self.crop * steps and exhausted(measured, self.patience))

    @property
    def needs_val(self) -> bool:
        """Whether the validation digits decide anything in such a run."""
        return self.schedule == "plateau" or self.patience > 0 or self.keep == "best"

    def __post_init__(self) -> None:
        for names, allowed, right in CHECKS:
            for name in names.split():
                if not right(value := getattr(self, name)):
                    raise ValueError(f"{name} must be {allowed}, not {value!r}.")
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON gives a list


PRECISIONS = ["auto", "float64", "float32", "bfloat16"]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value < 1


CHECKS: list[tuple[str, str, Callable[[Any], bool]]] = [  # settings, what they must be, and whether a value is that
    ("epochs learning_rate", "a number above 0", lambda x: _number(x) and x > 0),
    ("batch_size", "a whole number of at least 2", lambda x: type(x) is int and x >= 2),
    ("schedule", f"one of {', '.join(SCHEDULES)}", lambda x: x in list(SCHEDULES)),
    ("factor", "a number above 0 and below 1", lambda x: _share(x) and x > 0),
    ("wait patience", "a whole number of at least 0", lambda x: type(x) is int and x >= 0),
    ("judge", "loss or errors", lambda x: x in ["loss", "errors"]),
    ("keep", "last or best", lambda x: x in ["last", "best"]),
    ("warmup momentum label_smoothing", "a number of at least 0 and below 1", _share),
    (
        "betas",
        "two numbers from 0 to below 1",
        lambda x: isinstance(x, list | tuple) and len(x) == 2 and all(map(_share, x)),
    ),
    ("weight_decay muon", "a number of at least 0", lambda x: _number(x) and x >= 0),
    ("crop", "a number from 0 to 1", lambda x: _number(x) and 0 <= x <= 1),
    ("augment", "an Augmentation or None", lambda x: isinstance(x, Augmentation | None)),
    ("dropout", "True or False", lambda x: isinstance(x, bool)),
    ("seed", "a whole number", lambda x: type(x) is int),
    ("precision", f"one of {', '.join(PRECISIONS)}", lambda x: x in PRECISIONS),
]
