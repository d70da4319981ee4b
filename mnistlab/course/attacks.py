"""Changes chosen to make a network fail: one pixel, one stroke, a step along the gradient."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnistlab.course.corruptions import strokes
from mnistlab.data.digits import normalise
from mnistlab.networks.hooks import evaluating


def one_pixel(model: nn.Module, digit: Tensor, label: int) -> pd.DataFrame:
    """What every change of a single pixel, to paper or to full ink, would do to the answer, one row a change.

    Columns: row, column, value (0 or 255), prediction, and margin: the label's logit minus the largest other one,
    below zero where the answer is wrong.  digit: (1, 28, 28) uint8.
    """
    inked, row, column = (digit != torch.tensor([0, 255])[:, None, None]).nonzero().T
    table = pd.DataFrame({"row": row, "column": column, "value": inked * 255})
    return table.assign(**_answers(model, with_pixels(digit, table), label))


def with_pixels(digit: Tensor, table: pd.DataFrame) -> Tensor:
    """(N, 1, 28, 28) uint8: the digit with each of the pixels that N rows of `one_pixel` tell of."""
    row, column, value = torch.tensor(table[["row", "column", "value"]].to_numpy()).T
    changed = digit.repeat(len(table), 1, 1, 1)
    changed[range(len(table)), 0, row, column] = value.to(torch.uint8)
    return changed


def one_stroke(
    model: nn.Module, digit: Tensor, label: int, length: float = 7.0, width: float = 2.0, apart: int = 2
) -> pd.DataFrame:
    """What one straight stroke of full ink more would do to the answer: every `apart` pixels, in eight directions.

    Columns: row and column of its middle, degrees (0 lies flat, 90 stands), prediction and margin as in `one_pixel`.
    length and width are in pixels.  digit: (1, 28, 28) uint8.
    """
    line, angles = range(apart // 2, digit.shape[-1], apart), np.arange(8) * 22.5
    table = pd.MultiIndex.from_product([line, line, angles], names=["row", "column", "degrees"]).to_frame(index=False)
    return table.assign(**_answers(model, with_strokes(digit, table, length, width), label))


def with_strokes(digit: Tensor, table: pd.DataFrame, length: float = 7.0, width: float = 2.0) -> Tensor:
    """(N, 1, 28, 28) uint8: the digit with each of the strokes that N rows of `one_stroke` tell of."""
    middles = torch.tensor(table[["row", "column"]].to_numpy(), dtype=torch.float32)
    angles = torch.deg2rad(torch.tensor(table["degrees"].to_numpy(), dtype=torch.float32))
    half = torch.stack([-angles.sin(), angles.cos()], 1) * (length - width) / 2  # round ends add half a width each
    drawn = (strokes(middles - half, middles + half, width, digit.shape[-1]) * 255).round().to(torch.uint8)
    return torch.maximum(digit, drawn)


def fgsm(model: nn.Module, images: Tensor, labels: Tensor, step: int) -> Tensor:
    """(N, 1, 28, 28) uint8: every pixel `step` grey levels up or down, whichever makes the loss larger.

    One step along the sign of the gradient, kept within 0…255.  Source: Goodfellow, Shlens & Szegedy, 2015.
    """
    pixels = normalise(images).requires_grad_(True)
    with evaluating(model), torch.enable_grad():
        gradient = torch.autograd.grad(F.cross_entropy(model(pixels), labels, reduction="sum"), pixels)[0]
    return (images + step * gradient.sign()).clamp(0, 255).to(torch.uint8)


def _answers(model: nn.Module, images: Tensor, label: int, batch_size: int = 256) -> dict[str, np.ndarray]:
    pixels = normalise(images).contiguous(memory_format=torch.channels_last)
    with evaluating(model), torch.inference_mode():
        logits = torch.cat([model(part) for part in pixels.split(batch_size)])
    others = logits.clone()
    others[:, label] = -torch.inf
    return {"prediction": logits.argmax(1).numpy(), "margin": (logits[:, label] - others.amax(1)).numpy()}
