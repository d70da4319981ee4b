"""Watching a network at work, or changing it for a moment: hooks that are gone when the `with` ends."""

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import SupportsIndex

from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """One layer at work. input, output: as PyTorch computed them; with N in front only inside `recording`."""

    name: str
    kind: str
    layer: nn.Module
    input: Tensor
    output: Tensor


def layer_named(model: nn.Module, name: str) -> nn.Module:
    """The layer of `model` with that name; ValueError, with the names that there are, for another."""
    layers: dict[str, nn.Module] = {n: layer for n, layer in model.named_modules() if not any(layer.children())}
    if name not in layers:
        raise ValueError(f"{type(model).__name__} has no layer {name!r}; its layers are {', '.join(layers)}.")
    return layers[name]


@contextmanager
def recording(model: nn.Module, names: Collection[str] | None = None) -> Iterator[list[Step]]:
    """A list that grows by one Step for each layer that `model` runs, in order, until the `with` ends.

    names: these layers only.  Layers that hold other layers are not listed themselves. What a layer does when it runs
    again in the same pass is a Step of its own, such as "relu (2)". The hooks are gone when the `with` is left, by an
    exception too, and they hear only the thread that opened it. ValueError for unknown names.
    """
    if names is None:
        names = [name for name, layer in model.named_modules() if not any(layer.children())]
    layers = {name: layer_named(model, name) for name in names}
    watched = set(layers.values())
    steps: list[Step] = []
    thread = threading.get_ident()

    inputs: dict[nn.Module, Tensor] = {}
    runs: Counter[nn.Module] | None = None  # counted in a pass of the whole model; its parts may be run alone, too
    hooks = []

    def begin(whole: nn.Module, given: tuple[object, ...]) -> None:
        nonlocal runs
        if whole is model and threading.get_ident() == thread:
            runs = Counter()

    def end(whole: nn.Module, given: tuple[object, ...], output: object) -> None:
        nonlocal runs
        if whole is model and threading.get_ident() == thread:
            runs = None

    def ours(layer: nn.Module) -> bool:  # and no copy of it, which carries the hooks along
        return layer in watched and threading.get_ident() == thread

    def before(layer: nn.Module, given: tuple[object, ...]) -> None:
        if (
            ours(layer) and given and isinstance(given[0], Tensor)
        ):  # cloned, because this layer or a later one may write in place
            inputs[layer] = given[0].detach().clone()

    def after(name: str, layer: nn.Module, given: tuple[object, ...], output: object) -> None:
        if ours(layer) and layer in inputs and isinstance(output, Tensor):  # an LSTM's, for one, is a tuple
            place = name
            if runs is not None:
                runs[layer] += 1
                place += f" ({runs[layer]})" if runs[layer] > 1 else ""
            steps.append(Step(place, type(layer).__name__, layer, inputs.pop(layer), output.detach().clone()))

    try:
        hooks.append(model.register_forward_pre_hook(begin))
        for name, layer in layers.items():
            hooks.append(layer.register_forward_pre_hook(before))
            hooks.append(layer.register_forward_hook(partial(after, name)))
        hooks.append(model.register_forward_hook(end))
        yield steps
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """`model` in eval mode; every layer has its own mode again afterwards."""
    modes = {layer: layer.training for layer in model.modules()}
    try:
        yield model.eval()
    finally:
        for layer, mode in modes.items():
            layer.training = mode


@contextmanager
def silenced(model: nn.Module, name: str, channels: SupportsIndex | Iterable[SupportsIndex]) -> Iterator[nn.Module]:
    """`model` with these channels of the layer `name` put out as zeros, until the `with` ends."""
    silent = [index(n) for n in (channels if isinstance(channels, Iterable) else [channels])]

    def silence(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output.clone()
        output[:, silent] = 0
        return output

    hook = layer_named(model, name).register_forward_hook(silence)
    try:
        yield model
    finally:
        hook.remove()
