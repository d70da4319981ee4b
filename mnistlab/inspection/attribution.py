"""Which pixels decided? Three answers to that question, and pictures that a channel or a logit would like best.

Each is computed here in the open, and agrees with captum in the tests.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mnistlab.data.digits import normalise
from mnistlab.inspection.trace import as_input
from mnistlab.networks.hooks import evaluating, layer_named

Heat = Float[Tensor, "28 28"]
BLANK = float(normalise(torch.zeros(1, 1, 1, 1, dtype=torch.uint8)))  # empty paper, as the network is given it
INK = float(normalise(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)))


def occlusion(model: nn.Module, digit: Tensor, logit: int, window: int = 5, batch_size: int = 256) -> Heat:
    """(28, 28): how much the logit falls where a square of `window` pixels of empty paper covers the digit.

    The square goes to each of its places inside the picture; a pixel's value is the mean over the squares that
    cover it.  digit: (1, 28, 28) uint8.  Source: Zeiler & Fergus, 2014.
    """
    pixels = as_input(model, digit)
    size = pixels.shape[-1]
    if not 1 <= window <= size:
        raise ValueError(f"A square of {window} pixels does not fit on {size}×{size}; take 1 to {size}.")
    across = size - window + 1
    squares = torch.zeros(across * across, 1, size, size, dtype=torch.bool, device=pixels.device)
    for place in range(across * across):
        row, column = divmod(place, across)
        squares[place, 0, row : row + window, column : column + window] = True
    with evaluating(model), torch.no_grad():
        whole = model(pixels)[0, logit]
        falls = torch.cat(
            [whole - model(pixels.masked_fill(part, BLANK))[:, logit] for part in squares.split(batch_size)]
        )
    cover = squares[:, 0].to(falls.dtype)
    return (torch.einsum("n,nhw->hw", falls, cover) / cover.sum(0)).cpu()


def grad_cam(model: nn.Module, digit: Tensor, logit: int, name: str) -> Float[Tensor, "h w"]:
    """(H, W) of the layer `name`: its maps, each weighted by the mean of the logit's gradient over it, ReLU of the sum.

    digit: (1, 28, 28) uint8.  Source: Selvaraju et al., 2017.
    """
    maps: list[Tensor] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        maps.append(output)
        return output.clone()  # the next layer may write in place

    hook = layer_named(model, name).register_forward_hook(keep)
    try:
        with evaluating(model), torch.enable_grad():
            value = model(as_input(model, digit).requires_grad_(True))[0, logit]
            gradient = torch.autograd.grad(value, maps[0])[0]
    finally:
        hook.remove()
    if maps[0].ndim != 4:
        raise ValueError(f"{name} has no maps to show; take a layer in front of the first dense one.")
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * maps[0]).sum(1)[0].relu().detach().cpu()


def integrated_gradients(model: nn.Module, digit: Tensor, logit: int, steps: int = 64) -> Heat:
    """(28, 28): each pixel's share of what the logit gains on the straight way from empty paper to the digit.

    Gradients are read in the middle of `steps` equal pieces of the way; all shares together come to
    logit(digit) − logit(empty paper), the nearer the more pieces.  digit: (1, 28, 28) uint8.
    Source: Sundararajan, Taly & Yan, 2017.
    """
    if steps < 1:
        raise ValueError(f"The way needs at least one piece, not {steps}; the default is 64.")
    pixels = as_input(model, digit)
    blank = torch.full_like(pixels, BLANK)
    places = (torch.arange(steps, device=pixels.device, dtype=pixels.dtype) + 0.5) / steps
    way = (blank + places[:, None, None, None] * (pixels - blank)).requires_grad_(True)
    with evaluating(model), torch.enable_grad():
        gradient = torch.autograd.grad(model(way)[:, logit].sum(), way)[0]
    return ((pixels - blank) * gradient.mean(0))[0, 0].detach().cpu()


def favourite(
    model: nn.Module, name: str, channel: int, steps: int = 200, rate: float = 0.1, blur: float = 0.6, seed: int = 0
) -> tuple[UInt8[Tensor, "28 28"], float]:
    """A picture found by climbing that drives `channel` of the layer `name` high: (28, 28) uint8, and what it reaches.

    It starts from faint noise and takes `steps` steps of Adam up the channel's largest cell (a dense layer's unit),
    each from a picture shifted at random by up to one pixel, and after each is blurred a little (`blur` pixels) and
    kept between paper and ink; without that, it would end as noise that no pen could draw.
    """
    if blur <= 0:
        raise ValueError(f"The picture is blurred by more than 0 pixels after each step, not by {blur}.")
    generator = torch.Generator().manual_seed(seed)
    parameter = next(model.parameters())
    picture = (torch.rand(1, 1, 28, 28, generator=generator) * 0.2 * (INK - BLANK) + BLANK).to(parameter)
    reach = torch.arange(-2, 3).to(parameter)
    bell = torch.exp(-(reach**2) / (2 * blur**2))
    bell = (bell / bell.sum())[None, None, None]
    picture.requires_grad_(True)
    adam = torch.optim.Adam([picture], lr=rate * (INK - BLANK))
    with evaluating(model):
        for _ in range(steps):
            right, down = torch.randint(-1, 2, (2,), generator=generator).tolist()
            with torch.enable_grad():
                value = _strongest(model, picture.roll((down, right), (2, 3)), name, channel)
                picture.grad = torch.autograd.grad(-value, picture)[0]
            adam.step()
            with torch.no_grad():
                padded = F.pad(picture, (2, 2, 2, 2), value=BLANK)
                picture.copy_(F.conv2d(F.conv2d(padded, bell), bell.mT).clamp(BLANK, INK))
        drawn = ((picture.detach() - BLANK) / (INK - BLANK) * 255).round().to(torch.uint8)
        with torch.no_grad():
            reached = float(_strongest(model, normalise(drawn).to(parameter), name, channel))
    return drawn[0, 0].cpu(), reached


def _strongest(model: nn.Module, pixels: Tensor, name: str, channel: int) -> Tensor:
    """The largest cell of a channel, with its gradient."""
    outputs: list[Tensor] = []
    hook = layer_named(model, name).register_forward_hook(lambda layer, given, output: outputs.append(output.clone()))
    try:
        model(pixels)
    finally:
        hook.remove()
    return outputs[0][0, channel].max()
