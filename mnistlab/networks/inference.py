"""A network's answers to many images: the one place that cuts them into batches, and knows what a network takes."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mnistlab.data.digits import normalise
from mnistlab.hardware import autocast
from mnistlab.networks.hooks import evaluating

# What other networks are made for, and what brings a digit to it: the shape of two such pictures, and the remedy.
OTHER_PICTURES = {
    (2, 3, 28, 28): "takes pictures of 3 channels, and digits have 1. Repeat it: nn.Sequential(ml.Repeat(3), network)",
    (2, 1, 32, 32): "takes pictures of 32×32 pixels. Add a border: nn.Sequential(nn.ReplicationPad2d(2), network)",
    (2, 3, 32, 32): "takes 32×32 pixels in 3 channels: nn.Sequential(nn.ReplicationPad2d(2), ml.Repeat(3), network)",
    (2, 784): "takes rows of 784 pixels. Flatten each picture: nn.Sequential(nn.Flatten(), network)",
}


class NetworkError(ValueError):
    """A network cannot take digits, or gives no logits for them; the message says what to do."""


def logits(
    model: nn.Module, images: Shaped[Tensor, "n 1 h w"], *, batch_size: int = 100, precision: str = "float32"
) -> Float[Tensor, "n ..."]:
    """(N, 1, 28, 28) uint8 → (N, 10): what `model` says of each image, in eval mode, without gradients.

    The result lies where the images lie, in float32, or in float64 where the weights are. The model stays where it is
    and as it is.  batch_size: on a CPU, too many at a time no longer fit into its cache, and take longer.
    precision: "bfloat16" is faster where the hardware computes in it.
    A part of a network, such as model[:7], gives its maps. Raises NetworkError for one that takes other pictures.
    """
    weight = next(model.parameters(), torch.zeros(()))

    def answers(layout: torch.memory_format) -> list[Tensor]:
        batches = (normalise(batch).to(weight, memory_format=layout) for batch in images.split(batch_size))
        return [model(batch).to(images.device) for batch in batches]

    with evaluating(model), torch.inference_mode(), autocast(precision, weight.device):
        try:
            found = answers(torch.channels_last)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of a network of somebody's own it may be any
            need_digits(model)
            found = answers(torch.contiguous_format)
    joined = torch.cat(found)  # outside, so that it is an ordinary tensor
    return joined.to(torch.promote_types(joined.dtype, torch.float32))


def lay_out(model: nn.Module) -> torch.memory_format:
    """Lay `model`'s weights out in memory as is best for it, and return how its pictures should lie.

    Convolutions are faster in channels_last. A network that calls `view` on their output needs the contiguous layout,
    as two blank pictures show.  Raises NetworkError as `need_digits` does.
    """
    model.to(memory_format=torch.channels_last)
    if getattr(model, "takes_channels_last", False):  # ours say so themselves
        return torch.channels_last
    with evaluating(model), torch.no_grad():
        try:
            model(_blank(model, 2, 1, 28, 28).contiguous(memory_format=torch.channels_last))
            return torch.channels_last
        except torch.OutOfMemoryError:
            raise
        except Exception:  # it may only be the layout, as the next line shows
            pass
    model.to(memory_format=torch.contiguous_format)
    need_digits(model)
    return torch.contiguous_format


def need_digits(model: nn.Module) -> None:
    """NetworkError, with the remedy, for a network that is made for other pictures than (N, 1, 28, 28)."""
    with evaluating(model), torch.no_grad():
        try:
            model(_blank(model, 2, 1, 28, 28))
        except Exception as error:
            if any(word in str(error).lower() for word in ("shape", "size", "channels", "height", "expected")):
                for shape, remedy in OTHER_PICTURES.items():
                    if _takes(model, _blank(model, *shape)):
                        raise NetworkError(f"{type(model).__name__} {remedy}.") from error
            raise


def _blank(model: nn.Module, *shape: int) -> Tensor:
    return next(model.parameters(), torch.zeros(())).new_zeros(shape)


def _takes(model: nn.Module, images: Tensor) -> bool:
    try:
        return len(model(images)) == 2
    except Exception:  # a network of somebody's own can fail in any way
        return False


def rows(network: str, answer: Tensor) -> Tensor:
    """`answer`, if it is (N, C) as logits are; NetworkError, which names the network, for anything else."""
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        given = tuple(answer.shape) if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        raise NetworkError(f"{network} gives {given}; logits are needed, one row for each picture.")
    return answer
