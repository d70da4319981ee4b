"""The convolutional network, and the arithmetic of its layers: sizes, parameters, multiply-adds, receptive field."""

import math
from collections import OrderedDict
from copy import deepcopy

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from mnistlab.tracing import Step, evaluating, recording


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


class CNN(nn.Sequential):
    """The reference network: (N, 1, 28, 28) normalised → (N, 10) logits, 437,738 parameters.

    Three blocks of convolutions, each ended by a pooling (28, 14, 7, 3 cells a side), then two dense layers. Every
    layer is named, so that `model.conv3` is what the table and the figures call conv3.
    seed: the initial weights are drawn from it alone; the global random generator is left as it was.
    """

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            super().__init__(
                OrderedDict(
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
                    dense2=nn.Linear(256, 10),
                )
            )

    def __getitem__(self, index: slice | int) -> nn.Module:
        """One layer, or, for a slice, a plain nn.Sequential of the same layers under the same names."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


class Ensemble(nn.Module):
    """Several CNNs that vote: (N, 1, 28, 28) → (N, 10), the logarithm of the mean of their probabilities.

    members: trained networks, or how many new ones, of seeds 0, 1, 2, …
    """

    def __init__(self, members: list[CNN] | int = 5) -> None:
        super().__init__()
        self.members = nn.ModuleList(map(CNN, range(members)) if isinstance(members, int) else members)

    def forward(self, images: Tensor) -> Tensor:
        votes = torch.stack([member(images).log_softmax(1) for member in self.members])
        return votes.logsumexp(0) - math.log(len(self.members))


def folded(model: nn.Sequential) -> nn.Sequential:
    """The same function as `model` in eval mode, with fewer layers, under the same names; `model` stays as it is.

    Each batch norm is multiplied into the convolution, or the dense layer of (N, features), right before it, and
    dropouts are left out. ValueError where a layer occurs twice: folding would give each place its own weights.
    """
    if len(set(model._modules.values())) < len(model):
        raise ValueError("A layer of this network occurs twice, so norms cannot be folded; give each place its own.")
    layers: dict[str, nn.Module] = {}
    last = ""
    for name, layer in model.named_children():
        layer = deepcopy(layer).eval()
        measured = getattr(layer, "running_mean", None) is not None
        if measured and isinstance(layer, nn.BatchNorm2d) and isinstance(layers.get(last), nn.Conv2d):
            layers[last] = fuse_conv_bn_eval(layers[last], layer)
        elif measured and isinstance(layer, nn.BatchNorm1d) and isinstance(layers.get(last), nn.Linear):
            layers[last] = fuse_linear_bn_eval(layers[last], layer)
        elif not isinstance(layer, nn.Dropout):
            layers[name], last = layer, name
    return nn.Sequential(OrderedDict(layers)).eval()


def output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """Cells along one side after a convolution or a pooling: ⌊(size + 2·padding − kernel_size) / stride⌋ + 1."""
    if size + 2 * padding < kernel_size:
        raise ValueError(
            f"A window of {kernel_size} does not fit on {size} pixels with padding {padding}: "
            f"take a smaller kernel_size or more padding."
        )
    return (size + 2 * padding - kernel_size) // stride + 1


def receptive_field(model: nn.Sequential) -> pd.DataFrame:
    """What one cell of each convolution or pooling can see of the picture, indexed by layer name.

    size: pixels across.  step: pixels from one cell's view to its neighbour's.  start: first pixel that cell 0
    sees (negative where padding comes first). So cell i sees pixels start + i·step … start + i·step + size − 1.
    A window of k widens the view by k − 1 steps; a stride lengthens the step. Behind a Flatten every cell sees
    all, and the table ends. Windows are square; ValueError for a layer whose view is not known here.
    """
    size, step, start, rows = 1, 1, 0, {}
    for name, layer in model.named_children():
        if isinstance(layer, nn.Flatten):
            break
        if isinstance(layer, nn.BatchNorm2d | nn.ReLU | nn.Dropout):
            continue
        if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            raise ValueError(f"What a cell of {name}, a {type(layer).__name__}, can see is not known here.")
        parts = layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", 1)
        kernel, stride, padding, dilation = (n if isinstance(n, int) else n[0] for n in parts)
        size, start, step = size + dilation * (kernel - 1) * step, start - padding * step, step * stride
        rows[name] = {"size": size, "step": step, "start": start}
    return pd.DataFrame.from_dict(rows, orient="index")


def layer_table(model: nn.Sequential, input_shape: tuple[int, ...] = (1, 1, 28, 28)) -> pd.DataFrame:
    """One row a layer, in the order of computation, as a forward pass of zeros of `input_shape` finds them.

    Columns: name, kind, output_shape (without N), parameters, multiply_adds (of one image; convolutions and
    dense layers only: the rest is small beside them, and a norm folds into the convolution before it).
    """
    with evaluating(model), torch.no_grad(), recording(model) as steps:
        model(torch.zeros(input_shape, device=next(model.parameters()).device))
    return pd.DataFrame(
        {
            "name": step.name,
            "kind": step.kind,
            "output_shape": tuple(step.output.shape[1:]),
            "parameters": sum(p.numel() for p in step.layer.parameters()),
            "multiply_adds": _multiply_adds(step),
        }
        for step in steps
    )


def _multiply_adds(step: Step) -> int:
    if not isinstance(step.layer, nn.Conv2d | nn.Linear):
        return 0
    return step.layer.weight.numel() * step.output[0].numel() // step.output.shape[1]
