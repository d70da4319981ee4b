"""What layers come to: sizes, parameters, multiply-adds, receptive fields, and a network with its norms folded in."""

from collections import OrderedDict
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from mnistlab.networks.hooks import Step, evaluating, recording

if TYPE_CHECKING:
    import pandas as pd

# What hides cells at random while a network is trained, and does nothing while it is used.
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def in_a_row(model: nn.Module) -> TypeGuard[nn.Sequential]:
    """Whether `model` runs its layers one after the other, as nn.Sequential does."""
    return isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward


def folded(model: nn.Sequential) -> nn.Sequential:
    """The same function as `model` in eval mode, with fewer layers, under the same names; `model` stays as it is.

    Each batch norm is multiplied into the convolution, or the dense layer of (N, features), right before it, and
    dropouts are left out. A layer that occurs twice becomes two.
    """
    layers: dict[str, nn.Module] = {}
    last = ""
    for name, layer in model._modules.items():  # named_children would leave out the second place of a layer
        layer = deepcopy(layer).eval()
        before, measured = layers.get(last), getattr(layer, "running_mean", None) is not None
        if measured and isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            layers[last] = fuse_conv_bn_eval(before, layer)
        elif measured and isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            layers[last] = fuse_linear_bn_eval(before, layer)
        elif not isinstance(layer, DROPOUTS):
            layers[name], last = layer, name
    return nn.Sequential(OrderedDict(layers)).eval()


def output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """Cells along one side after a convolution or a pooling: ⌊(size + 2·padding − kernel_size) / stride⌋ + 1.

    >>> output_size(28, kernel_size=3, padding=1), output_size(7, kernel_size=2, stride=2)
    (28, 3)
    """
    if size + 2 * padding < kernel_size:
        raise ValueError(
            f"A window of {kernel_size} does not fit on {size} pixels with padding {padding}: "
            f"take a smaller kernel_size or more padding."
        )
    return (size + 2 * padding - kernel_size) // stride + 1


class Sides(NamedTuple):
    """A layer's window, along the rows and along the columns."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


def sides(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> Sides:
    """A layer's window as pairs, also where PyTorch keeps one number for both. ValueError for padding="same"."""
    if isinstance(layer.padding, str):
        raise ValueError(f'The padding is "{layer.padding}"; write it as a number of pixels.')

    def pair(part: Any) -> tuple[int, int]:
        high, wide = (part, part) if isinstance(part, int) else part
        return high, wide

    return Sides(*(pair(getattr(layer, name, 1)) for name in Sides._fields))


def receptive_field(model: nn.Sequential) -> "pd.DataFrame":
    """What one cell of each convolution or pooling can see of the picture, indexed by layer name.

    size: pixels across.  step: pixels from one cell's view to its neighbour's.  start: first pixel that cell 0
    sees (negative where padding comes first). So cell i sees pixels start + i·step … start + i·step + size − 1.
    A window of k widens the view by k − 1 steps; a stride lengthens the step. Behind a Flatten every cell sees
    all, and the table ends. Windows are square; ValueError for a layer whose view is not known here.

    >>> receptive_field(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)))
       size  step  start
    0     3     1     -1
    1     4     2     -1
    2     8     2     -1
    """
    import pandas as pd

    size, step, start, rows = 1, 1, 0, {}
    for name, layer in model._modules.items():
        if isinstance(layer, nn.Flatten):
            break
        if isinstance(layer, (nn.BatchNorm2d, nn.ReLU, *DROPOUTS)):
            continue
        if not isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            raise ValueError(f"What a cell of {name}, a {type(layer).__name__}, can see is not known here.")
        kernel, stride, padding, dilation = (one for one, _ in sides(layer))
        size, start, step = size + dilation * (kernel - 1) * step, start - padding * step, step * stride
        rows[name] = {"size": size, "step": step, "start": start}
    return pd.DataFrame.from_dict(rows, orient="index")


def layer_table(model: nn.Sequential, input_shape: tuple[int, ...] = (1, 1, 28, 28)) -> "pd.DataFrame":
    """One row a layer, in the order of computation, as a forward pass of zeros of `input_shape` finds them.

    Columns: name, kind, output_shape (without N), parameters, multiply_adds (of one image; convolutions and
    dense layers only: the rest is small beside them, and a norm folds into the convolution before it).

    >>> layer_table(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(2704, 10)))
      name     kind output_shape  parameters  multiply_adds
    0    0   Conv2d  (4, 26, 26)          40          24336
    1    1  Flatten      (2704,)           0              0
    2    2   Linear        (10,)       27050          27040
    """
    import pandas as pd

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
