"""Random variations of digits, one draw per image, on the device where the images lie."""

from dataclasses import astuple, dataclass
from math import radians

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Shaped
from torch import Tensor

KNOTS = 5  # points a side at which an elastic deformation is drawn


@dataclass(frozen=True)
class Augmentation:
    """How far a digit may be varied: each amount is drawn evenly between minus and plus its limit.

    degrees: rotation.  scale: 0.1 means 0.9…1.1, drawn apart for width and height.
    shear: slant, in pixels sideways per pixel upwards.  shift: whole-digit shift in pixels.
    elastic: how far, in pixels, the sheet is pulled at 5×5 points, smoothly between them.
    stroke: share of the way to a pen one pixel wider on either side, or thinner by as much.
    ink: 0.4 means ink between 60% and 100% as dark.
    """

    degrees: float = 10.0
    scale: float = 0.1
    shear: float = 0.15
    shift: float = 1.5
    elastic: float = 0.0
    stroke: float = 0.0
    ink: float = 0.0

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0 or self.scale >= 1 or max(self.stroke, self.ink) > 1:
            raise ValueError(
                f"{self} makes no sense: no limit is negative, scale stays below 1, stroke and ink within 1."
            )

    def matrices(
        self, count: int, size: int, device: torch.device, generator: torch.Generator | None
    ) -> Float32[Tensor, "{count} 2 3"]:
        """(count, 2, 3): for each image, where in the input each output pixel is read (affine_grid's theta)."""
        draw = torch.rand(6, count, device=device, generator=generator) * 2 - 1
        angle = draw[0] * radians(self.degrees)
        wide, high = 1 / (1 + draw[1] * self.scale), 1 / (1 + draw[2] * self.scale)
        slant = draw[3] * self.shear
        right, down = draw[4:] * self.shift * 2 / size
        cos, sin = torch.cos(angle), torch.sin(angle)
        rows = [cos * wide, (cos * slant - sin) * high, right, sin * wide, (sin * slant + cos) * high, down]
        return torch.stack(rows, 1).view(count, 2, 3)


def augment(
    images: Shaped[Tensor, "n 1 h w"], limits: Augmentation, generator: torch.Generator | None = None
) -> Float32[Tensor, "n 1 h w"]:
    """(N, 1, H, W) of grey levels → float32 of the same shape, every image varied by its own draw.

    Paper (0) comes in at the borders. `generator`, of the images' device, makes the draws repeatable.
    """
    count, device = len(images), images.device
    matrices = limits.matrices(count, images.shape[-1], device, generator)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    if limits.elastic:
        pull = torch.rand(count, 2, KNOTS, KNOTS, device=device, generator=generator) * 2 - 1
        field = F.interpolate(pull, images.shape[-2:], mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1) * (limits.elastic * 2 / images.shape[-1])
    images = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if limits.stroke:
        amount = (torch.rand(count, 1, 1, 1, device=device, generator=generator) * 2 - 1) * limits.stroke
        wider = F.max_pool2d(images, 3, stride=1, padding=1)
        thinner = -F.max_pool2d(-images, 3, stride=1, padding=1)
        images = images + amount.clamp(min=0) * (wider - images) + amount.clamp(max=0) * (images - thinner)
    if limits.ink:
        images = images * (1 - limits.ink * torch.rand(count, 1, 1, 1, device=device, generator=generator))
    return images
