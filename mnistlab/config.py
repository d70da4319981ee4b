"""What a training run is told."""

from dataclasses import dataclass, field
from math import isfinite

from mnistlab.augment import Affine


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, apart from the network and the digits.

    The learning rate climbs in a straight line to `learning_rate` over the first `warmup` of all steps, then
    falls in a straight line to zero.
    epochs: times through the training set.  betas, weight_decay: AdamW's.
    label_smoothing: share of the target spread evenly over the ten digits.
    augment: how far each digit is moved at random, or None.  dropout: False leaves the dropout layers idle.
    seed: order of the digits, augmentation and dropout (the initial weights have their own: CNN(seed=…)).
    device: "auto" takes CUDA, else Apple's MPS, else the CPU.
    precision: "bfloat16", "float32", or "auto": bfloat16 where the hardware computes in it.
    """

    epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 8e-3
    warmup: float = 0.25
    betas: tuple[float, float] = (0.85, 0.99)
    weight_decay: float = 0.01
    label_smoothing: float = 0.05
    augment: Affine | None = field(default_factory=Affine)
    dropout: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON gives a list
        for name, value, right in (
            ("epochs", self.epochs, type(self.epochs) is int and self.epochs >= 1),
            ("batch_size", self.batch_size, type(self.batch_size) is int and self.batch_size >= 2),
            ("learning_rate", self.learning_rate, self.learning_rate > 0 and isfinite(self.learning_rate)),
            ("warmup", self.warmup, 0 <= self.warmup < 1),
            ("betas", self.betas, len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0 and isfinite(self.weight_decay)),
            ("augment", self.augment, self.augment is None or isinstance(self.augment, Affine)),
            ("seed", self.seed, type(self.seed) is int),
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1),
            ("precision", self.precision, self.precision in ("auto", "float32", "bfloat16")),
        ):
            if not right:
                raise ValueError(f"TrainConfig({name}={value!r}) makes no sense; see help(TrainConfig).")
