"""The convolutional network and its relatives."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, overload

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """PyTorch's Dropout, with p to the nearest 1/256, so that a byte a cell decides.

    PyTorch draws a number of 24 bits or more for every cell, one after the other on a CPU, which took a fifth of
    the training time. Eight cells' bytes come in one draw here.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * 256)
        dense = sum((n - 1) * step for n, step in zip(input.shape, input.stride(), strict=True)) + 1 == input.numel()
        if not self.training or input.device.type != "cpu" or not dense or not 0 < dropped < 256:
            return super().forward(input)
        draws = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8).as_strided(input.shape, input.stride()) >= dropped
        return input * (kept.to(input.dtype) * (256 / (256 - dropped)))


class Repeat(nn.Module):
    """Repeats the one channel of a digit for a network that takes more: (N, 1, H, W) → (N, channels, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, self.channels, -1, -1)


class Network(nn.Sequential):
    """Named layers in a row: (N, 1, 28, 28) normalised → (N, classes) logits.

    seed: the initial weights are drawn from it alone; the global random generator is left as it was.
    layers: makes them, in order.  arguments: what else, apart from the seed, the class was called with.
    """

    takes_crops = True  # it reads 24×24 pixels, too, because three poolings leave 3×3 cells of them as of 28×28
    takes_channels_last = True

    def __init__(
        self, seed: int, classes: int, layers: Callable[[], OrderedDict[str, nn.Module]], **arguments: Any
    ) -> None:
        if type(classes) is not int or not 2 <= classes <= 1000:  # a checkpoint's card may ask for a billion
            raise ValueError(f"A network tells 2 to 1000 classes apart, not {classes!r}.")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(layers())
        self.arguments = {"classes": classes, **arguments}

    @overload
    def __getitem__(self, index: slice) -> nn.Sequential: ...
    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    def __getitem__(self, index: slice | int) -> nn.Module:
        """One layer, or, for a slice, a plain nn.Sequential of the same layers under the same names."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


class CNN(Network):
    """The reference network, 437,738 parameters.

    Three blocks of convolutions, each ended by a pooling (28, 14, 7, 3 cells a side), then two dense layers. Every
    layer is named, so that `model.conv3` is what the table and the figures call conv3.
    """

    def __init__(self, seed: int = 0, classes: int = 10) -> None:
        super().__init__(
            seed,
            classes,
            lambda: OrderedDict(
                conv1=nn.Conv2d(1, 32, kernel_size=3, padding=1),
                norm1=nn.BatchNorm2d(32),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 32, kernel_size=3, padding=1),
                norm2=nn.BatchNorm2d(32),
                relu2=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                drop1=Dropout(0.25),
                conv3=nn.Conv2d(32, 64, kernel_size=3, padding=1),
                norm3=nn.BatchNorm2d(64),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(64, 64, kernel_size=3, padding=1),
                norm4=nn.BatchNorm2d(64),
                relu4=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                drop2=Dropout(0.25),
                conv5=nn.Conv2d(64, 128, kernel_size=3, padding=1),
                norm5=nn.BatchNorm2d(128),
                relu5=nn.ReLU(),
                pool3=nn.MaxPool2d(2),
                drop3=Dropout(0.25),
                flatten=nn.Flatten(),
                dense1=nn.Linear(128 * 3 * 3, 256),
                norm6=nn.BatchNorm1d(256),
                relu6=nn.ReLU(),
                drop4=Dropout(0.5),
                dense2=nn.Linear(256, classes),
            ),
        )


class LeNet(Network):
    """Two 5×5 convolutions and two dense layers, after LeCun's networks of the 1990s; 21,840 parameters."""

    takes_crops = False

    def __init__(self, seed: int = 0, classes: int = 10) -> None:
        super().__init__(
            seed,
            classes,
            lambda: OrderedDict(
                conv1=nn.Conv2d(1, 10, kernel_size=5),
                pool1=nn.MaxPool2d(2),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(10, 20, kernel_size=5),
                pool2=nn.MaxPool2d(2),
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),
                dense1=nn.Linear(20 * 4 * 4, 50),
                relu3=nn.ReLU(),
                drop1=Dropout(0.5),
                dense2=nn.Linear(50, classes),
            ),
        )


class Simple(Network):
    """Two convolutions, one pooling, and a dense layer that holds 98% of the 1,199,882 parameters."""

    takes_crops = False

    def __init__(self, seed: int = 0, classes: int = 10) -> None:
        super().__init__(
            seed,
            classes,
            lambda: OrderedDict(
                conv1=nn.Conv2d(1, 32, kernel_size=3),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 64, kernel_size=3),
                relu2=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                drop1=Dropout(0.25),
                flatten=nn.Flatten(),
                dense1=nn.Linear(64 * 12 * 12, 128),
                relu3=nn.ReLU(),
                drop2=Dropout(0.5),
                dense2=nn.Linear(128, classes),
            ),
        )


class Compact(Network):
    """Three blocks of one convolution each, with batch norm, and three dense layers; 422,474 parameters."""

    def __init__(self, seed: int = 0, classes: int = 10) -> None:
        super().__init__(
            seed,
            classes,
            lambda: OrderedDict(
                conv1=nn.Conv2d(1, 32, kernel_size=3, padding=1),
                norm1=nn.BatchNorm2d(32),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(32, 64, kernel_size=3, padding=1),
                norm2=nn.BatchNorm2d(64),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                conv3=nn.Conv2d(64, 128, kernel_size=3, padding=1),
                norm3=nn.BatchNorm2d(128),
                relu3=nn.ReLU(),
                pool3=nn.MaxPool2d(2),
                drop1=Dropout(0.25),
                flatten=nn.Flatten(),
                dense1=nn.Linear(128 * 3 * 3, 256),
                relu4=nn.ReLU(),
                drop2=Dropout(0.5),
                dense2=nn.Linear(256, 128),
                relu5=nn.ReLU(),
                drop3=Dropout(0.25),
                dense3=nn.Linear(128, classes),
            ),
        )


class Improved(Network):
    """Three blocks of two convolutions each, and two wide dense layers, all with batch norm; 2,531,946 parameters."""

    def __init__(self, seed: int = 0, classes: int = 10) -> None:
        super().__init__(seed, classes, partial(self._layers, classes))

    @staticmethod
    def _layers(classes: int) -> OrderedDict[str, nn.Module]:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for block, (before, after) in enumerate(((1, 32), (32, 64), (64, 128))):
            for n, channels in ((2 * block + 1, before), (2 * block + 2, after)):
                layers[f"conv{n}"] = nn.Conv2d(channels, after, kernel_size=3, padding=1)
                layers[f"norm{n}"] = nn.BatchNorm2d(after)
                layers[f"relu{n}"] = nn.ReLU()
            layers[f"pool{block + 1}"] = nn.MaxPool2d(2)
            layers[f"drop{block + 1}"] = Dropout(0.25)
        layers["flatten"] = nn.Flatten()
        for n, inputs in ((1, 128 * 3 * 3), (2, 1024)):
            layers[f"dense{n}"] = nn.Linear(inputs, 1024)
            layers[f"norm{n + 6}"] = nn.BatchNorm1d(1024)
            layers[f"relu{n + 6}"] = nn.ReLU()
            layers[f"drop{n + 3}"] = Dropout(0.5)
        layers["dense3"] = nn.Linear(1024, classes)
        return layers


class MLP(Network):
    """Dense layers alone (a multilayer perceptron): every hidden cell sees all 784 pixels, and knows no neighbours.

    hidden: the cells of each hidden layer.  dropout: the share of them hidden at random while training.
    """

    takes_crops = False

    def __init__(
        self, seed: int = 0, classes: int = 10, hidden: Sequence[int] = (256, 128), dropout: float = 0.2
    ) -> None:
        if not all(type(cells) is int and cells >= 1 for cells in hidden) or not 0 <= dropout < 1:
            raise ValueError(f"MLP(hidden={hidden!r}, dropout={dropout!r}) makes no sense; try hidden=(256, 128).")

        def layers() -> OrderedDict[str, nn.Module]:
            made: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
            sizes = [28 * 28, *hidden]
            for n, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
                made[f"dense{n}"], made[f"relu{n}"] = nn.Linear(inputs, outputs), nn.ReLU()
                made[f"drop{n}"] = Dropout(dropout)
            made[f"dense{len(sizes)}"] = nn.Linear(sizes[-1], classes)
            return made

        super().__init__(seed, classes, layers, hidden=list(hidden), dropout=dropout)


RELATIVES: tuple[type[Network], ...] = (CNN, Improved, Compact, Simple, LeNet, MLP)


class Ensemble(nn.Module):
    """Several CNNs that vote: (N, 1, 28, 28) → (N, classes), the logarithm of the mean of their probabilities.

    members: trained networks, or how many new ones, of seeds 0, 1, 2, …
    """

    takes_channels_last = True

    def __init__(self, members: list[CNN] | int = 5, classes: int = 10) -> None:
        super().__init__()
        if isinstance(members, int) and not 1 <= members <= 100:  # a checkpoint's card may ask for a billion
            raise ValueError(f"An ensemble has 1 to 100 members, not {members}.")
        self.members = nn.ModuleList(
            (CNN(seed, classes) for seed in range(members)) if isinstance(members, int) else members
        )
        self.arguments = {"members": len(self.members), "classes": classes}

    def forward(self, images: Tensor) -> Tensor:
        votes = torch.stack([member(images).log_softmax(1) for member in self.members])
        return votes.logsumexp(0) - math.log(len(self.members))
