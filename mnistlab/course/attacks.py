"""Changes chosen to make a network fail: one pixel, one stroke, a step along the gradient. And a control: noise."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnistlab.course.corruptions import strokes
from mnistlab.data.digits import Digits, normalise
from mnistlab.networks.hooks import evaluating
from mnistlab.networks.inference import logits


def one_pixel(model: nn.Module, digits: Digits) -> Digits:
    """Each digit with one pixel turned to paper or to full ink: the one that harms its answer most."""
    every = (digits[index] for index in range(len(digits)))
    worst = [with_pixels(digit.images[0], pixel_changes(model, digit).nsmallest(1, "margin")) for digit in every]
    return replace(digits, images=torch.cat(worst))


def one_stroke(model: nn.Module, digits: Digits) -> Digits:
    """Each digit with one short straight stroke more: the one that harms its answer most."""
    every = (digits[index] for index in range(len(digits)))
    worst = [with_strokes(digit.images[0], stroke_changes(model, digit).nsmallest(1, "margin")) for digit in every]
    return replace(digits, images=torch.cat(worst))


def fgsm(model: nn.Module, digits: Digits, step: int) -> Digits:
    """Every pixel `step` grey levels up or down, whichever makes the loss larger.

    One step along the sign of the gradient, kept within 0…255.  Source: Goodfellow, Shlens & Szegedy, 2015.
    """
    pixels, labels = normalise(digits.images).requires_grad_(True), digits.known_labels("be attacked")
    with evaluating(model), torch.enable_grad():
        gradient = torch.autograd.grad(F.cross_entropy(model(pixels), labels, reduction="sum"), pixels)[0]
    return _moved(digits, step * gradient.sign())


def noise(digits: Digits, step: int, seed: int = 0) -> Digits:
    """Every pixel `step` grey levels up or down at random, kept within 0…255: compare `fgsm` with it."""
    signs = torch.randint(0, 2, digits.images.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return _moved(digits, step * signs)


def _moved(digits: Digits, steps: Tensor) -> Digits:
    return replace(digits, images=(digits.images + steps).clamp(0, 255).to(torch.uint8))


def pixel_changes(model: nn.Module, digit: Digits) -> pd.DataFrame:
    """What every change of a single pixel of one digit, to paper or to full ink, would do: one row a change.

    Columns: row, column, value (0 or 255), prediction, and margin: the label's logit minus the largest other one,
    below zero where the answer is wrong.
    """
    inked, row, column = (digit.images[0] != torch.tensor([0, 255])[:, None, None]).nonzero().T
    table = pd.DataFrame({"row": row, "column": column, "value": inked * 255})
    return table.assign(**_answers(model, with_pixels(digit.images[0], table), digit))


def with_pixels(image: Tensor, table: pd.DataFrame) -> Tensor:
    """(N, 1, 28, 28) uint8: the (1, 28, 28) image with each of the N changes of `pixel_changes`."""
    row, column, value = torch.tensor(table[["row", "column", "value"]].to_numpy()).T
    changed = image.repeat(len(table), 1, 1, 1)
    changed[range(len(table)), 0, row, column] = value.to(torch.uint8)
    return changed


def stroke_changes(
    model: nn.Module, digit: Digits, length: float = 7.0, width: float = 2.0, apart: int = 2
) -> pd.DataFrame:
    """What one more straight stroke of full ink would do to one digit: every `apart` pixels, in eight directions.

    Columns: row and column of its middle, degrees (0 lies flat, 90 stands), prediction and margin as in
    `pixel_changes`.  length and width are in pixels.
    """
    line, angles = range(apart // 2, digit.images.shape[-1], apart), np.arange(8) * 22.5
    table = pd.MultiIndex.from_product([line, line, angles], names=["row", "column", "degrees"]).to_frame(index=False)
    return table.assign(**_answers(model, with_strokes(digit.images[0], table, length, width), digit))


def with_strokes(image: Tensor, table: pd.DataFrame, length: float = 7.0, width: float = 2.0) -> Tensor:
    """(N, 1, 28, 28) uint8: the (1, 28, 28) image with each of the N strokes of `stroke_changes`."""
    middles = torch.tensor(table[["row", "column"]].to_numpy(), dtype=torch.float32)
    angles = torch.deg2rad(torch.tensor(table["degrees"].to_numpy(), dtype=torch.float32))
    half = torch.stack([-angles.sin(), angles.cos()], 1) * (length - width) / 2  # round ends add half a width each
    drawn = (strokes(middles - half, middles + half, width, image.shape[-1]) * 255).round().to(torch.uint8)
    return torch.maximum(image, drawn)


def _answers(model: nn.Module, images: Tensor, digit: Digits) -> dict[str, np.ndarray]:
    label = int(digit.known_labels("be attacked")[0])
    found = logits(model, images, batch_size=256)
    others = found.clone()
    others[:, label] = -torch.inf
    return {"prediction": found.argmax(1).numpy(), "margin": (found[:, label] - others.amax(1)).numpy()}
