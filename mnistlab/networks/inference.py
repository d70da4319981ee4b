"""A network's answers to many images: the one place that cuts them into batches."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mnistlab.data.digits import normalise
from mnistlab.hardware import autocast
from mnistlab.networks.hooks import evaluating


def logits(
    model: nn.Module, images: Shaped[Tensor, "n 1 h w"], *, batch_size: int = 100, precision: str = "float32"
) -> Float[Tensor, "n ..."]:
    """(N, 1, 28, 28) uint8 → (N, 10): what `model` says of each image, in eval mode, without gradients.

    The result lies where the images lie, in float32, or in float64 where the weights are. The model stays where it is
    and as it is.  batch_size: on a CPU, too many at a time no longer fit into its cache, and take longer.
    precision: "bfloat16" is faster where the hardware computes in it.
    """
    weight = next(model.parameters(), torch.zeros(()))
    with evaluating(model), torch.inference_mode(), autocast(precision, weight.device):
        answers = [
            model(normalise(batch).to(weight, memory_format=torch.channels_last)).to(images.device)
            for batch in images.split(batch_size)
        ]
    joined = torch.cat(answers)  # outside, so that it is an ordinary tensor
    return joined.to(torch.promote_types(joined.dtype, torch.float32))
