"""What a training run is told."""

from dataclasses import dataclass, field, replace
from math import isfinite

from mnistlab.data.augmentation import Augmentation


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, apart from the network and the digits.

    The learning rates climb in a straight line to their peak over the first `warmup` of all steps, then fall in
    a straight line to zero.
    epochs: times through the training set; 0.5 stops half-way through.
    muon: peak learning rate of Muon (torch.optim.Muon, with `momentum`), which moves the weights of every
    convolution and dense layer but the first and the last by a step of about equal size in all directions; 0
    leaves them to AdamW too.  learning_rate, betas, weight_decay: AdamW's, for all the rest.
    crop: for this first share of the steps the network is shown 24×24 pixels of each digit, a quarter less work;
    the others get it used to the whole. A network whose dense layers take only 28×28 needs crop=0.
    label_smoothing: share of the target spread evenly over the ten digits.
    augment: how far each digit is moved at random, or None.  dropout: False leaves the dropout layers idle.
    seed: order of the digits, augmentation and dropout (the initial weights have their own: CNN(seed=…)).
    device: "auto" takes CUDA, else Apple's MPS, else the CPU.
    precision: "bfloat16", "float32", "float64" (slow, for comparing runs), or "auto": bfloat16 where the hardware
    computes in it.
    """

    epochs: float = 2
    batch_size: int = 256
    learning_rate: float = 8e-3
    warmup: float = 0.1
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
    def quick(cls, **changes) -> "TrainConfig":
        """Two fifths of an epoch: seconds on two CPU cores."""
        light = Augmentation(degrees=5, scale=0.05, shear=0.08, shift=1)
        return replace(cls(epochs=0.4, batch_size=128, muon=0.6, augment=light), **changes)

    @classmethod
    def best(cls, **changes) -> "TrainConfig":
        """The recipe of the shipped network: minutes on two CPU cores."""
        return replace(cls(epochs=8), **changes)

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON gives a list
        for name, value, right in (
            ("epochs", self.epochs, type(self.epochs) in (int, float) and self.epochs > 0 and isfinite(self.epochs)),
            ("batch_size", self.batch_size, type(self.batch_size) is int and self.batch_size >= 2),
            ("learning_rate", self.learning_rate, self.learning_rate > 0 and isfinite(self.learning_rate)),
            ("warmup", self.warmup, 0 <= self.warmup < 1),
            ("betas", self.betas, len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0 and isfinite(self.weight_decay)),
            ("muon", self.muon, self.muon >= 0 and isfinite(self.muon)),
            ("momentum", self.momentum, 0 <= self.momentum < 1),
            ("crop", self.crop, 0 <= self.crop <= 1),
            ("augment", self.augment, self.augment is None or isinstance(self.augment, Augmentation)),
            ("seed", self.seed, type(self.seed) is int),
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1),
            ("precision", self.precision, self.precision in ("auto", "float64", "float32", "bfloat16")),
        ):
            if not right:
                raise ValueError(f"TrainConfig({name}={value!r}) makes no sense; see help(TrainConfig).")
