"""MNIST's own form: how a picture of ink becomes 28×28 grey levels around its centre of mass."""

import torch
import torch.nn.functional as F
from torch import Tensor


def centre_in_box(ink: Tensor) -> Tensor:
    """(H, W) of ink, 0…255 on a paper of zeros → (28, 28) uint8 in MNIST's own form.

    Bounding box → padded to a square → antialiased resample to 20×20 → pasted, by a whole number of
    pixels, so that the centre of mass comes nearest to pixel (14, 14). The order is QMNIST's
    reconstruction of the lost original (Yadav and Bottou, 2019). A picture without ink stays empty.
    Photographs and drawings, whose edges are soft, come into the form through `reading.picture` instead.
    """
    rows, columns = (ink > 0).any(1).nonzero().flatten(), (ink > 0).any(0).nonzero().flatten()
    canvas = torch.zeros(28, 28, dtype=torch.uint8)
    if len(rows) == 0:
        return canvas
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float()
    height, width = box.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    box = F.pad(box, (left, side - width - left, top, side - height - top))
    box = F.interpolate(box[None, None], (20, 20), mode="bicubic", antialias=True)[0, 0]
    box = box.clamp(0, 255).round().to(torch.uint8)
    if not box.any():  # the ink was fainter than one grey level
        return canvas
    centre = [int(torch.round(14 - c)) for c in centre_of_mass(box)]
    row, column = (min(max(c, 0), 8) for c in centre)
    canvas[row : row + 20, column : column + 20] = box
    return canvas


def centre_of_mass(images: Tensor) -> Tensor:
    """(…, H, W) → (…, 2): the mean row and column index of the ink, each pixel weighted by its grey level."""
    ink = images.float()
    total = ink.sum((-2, -1))
    rows = (ink.sum(-1) * torch.arange(ink.shape[-2], device=ink.device)).sum(-1) / total
    columns = (ink.sum(-2) * torch.arange(ink.shape[-1], device=ink.device)).sum(-1) / total
    return torch.stack([rows, columns], -1)
