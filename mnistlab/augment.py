"""Random variations of digits, one draw per image, on the device where the images lie."""

from dataclasses import dataclass
from math import radians

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Affine:
    """How far a digit may be moved: each amount is drawn evenly between minus and plus its limit.

    degrees: rotation.  scale: 0.1 means 0.9…1.1, drawn apart for width and height.
    shear: slant, in pixels sideways per pixel upwards.  shift: whole-digit shift in pixels.
    """

    degrees: float = 10.0
    scale: float = 0.1
    shear: float = 0.15
    shift: float = 1.5

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1 or min(self.degrees, self.shear, self.shift) < 0:
            raise ValueError(f"{self} makes no sense: no limit is negative, and scale stays below 1.")

    def matrices(self, count: int, size: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """(count, 2, 3): for each image, where in the input each output pixel is read (affine_grid's theta)."""
        draw = torch.rand(6, count, device=device, generator=generator) * 2 - 1
        angle = draw[0] * radians(self.degrees)
        wide, high = 1 / (1 + draw[1] * self.scale), 1 / (1 + draw[2] * self.scale)
        slant = draw[3] * self.shear
        right, down = draw[4:] * self.shift * 2 / size
        cos, sin = torch.cos(angle), torch.sin(angle)
        rows = [cos * wide, (cos * slant - sin) * high, right, sin * wide, (sin * slant + cos) * high, down]
        return torch.stack(rows, 1).view(count, 2, 3)


def augment(images: Tensor, affine: Affine, generator: torch.Generator | None = None) -> Tensor:
    """(N, 1, H, W) of grey levels → float32 of the same shape, every image moved by its own draw.

    Paper (0) comes in at the borders. `generator`, of the images' device, makes the draws repeatable.
    """
    matrices = affine.matrices(len(images), images.shape[-1], images.device, generator)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
