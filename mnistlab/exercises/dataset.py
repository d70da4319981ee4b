"""Checkers for notebook 01."""

from collections.abc import Callable

import torch

from mnistlab.data import normalise
from mnistlab.exercises import NotYet, call, checker


def _images(count: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return images * (torch.rand(images.shape, generator=generator) < 0.3)


@checker
def ink_share(function: Callable) -> str:
    """ink_share(images) → the share of pixels that are not zero, a number in 0…1."""
    images = _images()
    got, right = float(call(function, images)), float((images != 0).double().mean())
    if abs(got - (1 - right)) < 1e-6:
        raise NotYet("that is the share of paper. Ink is what is not zero.")
    if abs(got - 100 * right) < 1e-4:
        raise NotYet("that is a percentage; a share lies between 0 and 1.")
    if abs(got - float(images.float().mean() / 255)) < 1e-6:
        raise NotYet("that is the mean brightness. A grey pixel counts as one whole pixel of ink here.")
    if abs(got - right) > 1e-6:
        raise NotYet(f"on five random images your function says {got:.4f}; counting gives {right:.4f}.")
    return "a pixel is ink as soon as it is not zero, and the mean of True and False is a share."


@checker
def invert(function: Callable) -> str:
    """invert(images) → the same picture with ink and paper exchanged, uint8."""
    images = _images()
    before = images.clone()
    got = call(function, images)
    if not torch.equal(images, before):
        raise NotYet("your function changed the images it was given; return new ones.")
    if not isinstance(got, torch.Tensor) or got.dtype != torch.uint8:
        raise NotYet(f"the result should be a uint8 tensor, not {getattr(got, 'dtype', type(got).__name__)}.")
    if got.shape != images.shape:
        raise NotYet(f"the shape went from {tuple(images.shape)} to {tuple(got.shape)}.")
    if torch.equal(got, 0 - images):
        raise NotYet("uint8 wraps round: −1 becomes 255, so 0 stays 0. Where should 0 go?")
    if not torch.equal(got, 255 - images):
        raise NotYet(
            f"a pixel of {int(before.max())} became {int(got.flatten()[before.argmax()])}; 0 should become "
            f"255, 255 should become 0, and 100 should become 155."
        )
    return "a photo of ink on paper has its numbers the other way round; notebook 05 decides it from the picture."


@checker
def denormalise(function: Callable) -> str:
    """denormalise(x) → the uint8 images that normalise turned into x."""
    images = torch.arange(256, dtype=torch.uint8).repeat(4)[:784].reshape(1, 1, 28, 28)
    got = call(function, normalise(images))
    if not isinstance(got, torch.Tensor):
        raise NotYet("return a tensor.")
    if got.shape != images.shape:
        raise NotYet(f"the shape went from {tuple(images.shape)} to {tuple(got.shape)}.")
    if got.float().max() <= 1.001:
        raise NotYet("your values end at 1; pixels end at 255.")
    if got.dtype != torch.uint8:
        raise NotYet(f"the values should be uint8 again, not {got.dtype}.")
    wrong = int((got != images).sum())
    if wrong and int((got.int() - images.int()).abs().max()) == 1:
        raise NotYet(f"{wrong} of 784 pixels are off by one: .to(torch.uint8) cuts the decimals off. Round first.")
    if wrong:
        raise NotYet(f"{wrong} of 784 pixels differ. Undo the steps in the reverse order: × std, + mean, × 255.")
    return "undone to the last grey level: normalising loses nothing."
