"""The two optimizers of a run: Muon for the layers inside the network, AdamW for all the rest."""

import torch
from torch import Tensor, nn

from mnistlab.hardware import choose_precision
from mnistlab.training.config import TrainConfig


class Muon(torch.optim.Optimizer):
    """Gradient descent with Nesterov's momentum, whose step goes equally far in all directions of a weight matrix.

    In bfloat16 it takes the steps of torch.optim.Muon, to the last bit. That one takes matrices only, and always
    computes in bfloat16, in which processors without instructions for it are several times slower than in float32.
    This one also takes convolutions, as a matrix with one row for each filter, and computes in `number`.

    Source: Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/
    """

    def __init__(self, weights: list[Tensor], lr: float, momentum: float, number: torch.dtype) -> None:
        self.number = number
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure is ever given
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient, matrix = _matrix(weight.grad), _matrix(weight)
                if not self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(gradient)
                mean = self.state[weight]["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
                update = orthogonal(gradient.lerp(mean, group["momentum"]).to(self.number))
                rows, columns = matrix.shape
                matrix.sub_(update, alpha=group["lr"] * max(1.0, rows / columns) ** 0.5)


def _matrix(weight: Tensor) -> Tensor:
    """A view of weights, of a dense layer or of a convolution in either layout, as (outputs, inputs of one output)."""
    return (weight if weight.is_contiguous() else weight.movedim(1, -1)).view(len(weight), -1)


def orthogonal(matrix: Tensor) -> Tensor:
    """`matrix` (m, n) with its singular vectors kept and its larger singular values brought near 1.

    Five Newton-Schulz iterations. Each replaces every singular value s by 3.4445 s - 4.775 s³ + 2.0315 s⁵, a
    polynomial that lifts small ones fast. From 0.01 to 1, five rounds end between 0.68 and 1.14.
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), wide, beta=3.4445)
    return wide if len(matrix) <= matrix.shape[1] else wide.T


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
    number = getattr(torch, choose_precision(config.precision, inner[0].device))
    return [Muon(inner, config.muon, config.momentum, number), adamw]
