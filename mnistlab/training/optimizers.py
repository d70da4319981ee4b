"""The two optimizers of a run: Muon for the layers inside the network, AdamW for all the rest."""

from typing import Any

import torch
from torch import Tensor, nn

from mnistlab.training.config import TrainConfig


class Muon(torch.optim.Muon):
    """PyTorch's Muon, which takes matrices only, on convolutions too: one row for each of their filters."""

    def __init__(self, weights: list[Tensor], **options: Any) -> None:
        self.weights = weights
        super().__init__([_matrix(weight.detach()) for weight in weights], **options)

    def step(self) -> None:  # type: ignore[override]  # no closure is ever given
        for matrix, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            matrix.grad = None if weight.grad is None else _matrix(weight.grad)
        super().step()  # type: ignore[no-untyped-call]


def _matrix(weight: Tensor) -> Tensor:
    """A view of weights laid out channels_last, or of a dense layer's, as (outputs, inputs of one output)."""
    return weight.movedim(1, -1).view(len(weight), -1) if weight.ndim == 4 else weight


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW, and before it Muon for the layers between the first and the last where the config wants it."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    inner: list[Tensor] = [layer.weight for layer in layers[1:-1] if config.muon and layer.weight.requires_grad]
    rest = [p for p in model.parameters() if all(p is not weight for weight in inner)]
    adamw = torch.optim.AdamW(
        rest, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )
    if not inner:
        return [adamw]
    return [Muon(inner, lr=config.muon, momentum=config.momentum, weight_decay=0.0), adamw]
