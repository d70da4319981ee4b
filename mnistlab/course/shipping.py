"""The notebook on shipping: its figures, and the checkers of its exercises."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from safetensors.torch import save
from torch import Tensor

from mnistlab.course.check import NotYet, call, checker
from mnistlab.data.digits import Digits
from mnistlab.figures import plots
from mnistlab.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Figure,
    Sourced,
    bare,
    draw,
    heading,
    write_numbers,
)


def operations(program: torch.export.ExportedProgram) -> list[tuple[str, str]]:
    """The picture and each operation of a program, in order: its name, and the shape of what it makes for a digit."""
    steps = []
    for node in program.graph.nodes:
        made = node.meta.get("val")
        if isinstance(made, Tensor) and (node.op == "call_function" or node.name == "images"):
            steps.append((node.name.rstrip("_0123456789"), "×".join(map(str, made.shape[1:]))))
    return steps


def lead(logits: Tensor) -> Tensor:
    """(N, 10) → (N,): how far the largest logit is ahead of the second."""
    first, second = logits.topk(2, 1)[0].unbind(1)
    return first - second


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bars(panels: dict[str, pd.DataFrame], title: str, of: Sourced | None = None) -> Figure:
    """One panel for each table: a group of bars for each row, one for each column, its number at its end."""
    rows = max(len(table) * max(len(table.columns), 1.5) for table in panels.values())
    told = [
        ", ".join([name, " and ".join(table)][: len(table.columns)])
        + ": "
        + "; ".join(f"{row} {' and '.join(map(number, values))}" for row, *values in table.itertuples())
        for name, table in panels.items()
    ]
    figure = Figure(5 + 2.5 * len(panels), 0.25 * rows + 1.5, title, f"Bars. {'. '.join(told)}.", of)
    for axes, (name, table) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True):
        high = 0.8 / len(table.columns)
        for n, (label, values) in enumerate(table.items()):
            places = np.arange(len(table)) + (n - (len(table.columns) - 1) / 2) * high
            axes.barh(places, values, height=0.92 * high, color=(BLUE, ORANGE, GREEN)[n % 3], label=label)
            for place, value in zip(places, values, strict=True):
                axes.text(value, place, f" {number(value)}", va="center", fontsize=11)
        axes.set_yticks(range(len(table)), table.index, fontsize=11)
        axes.set(xlabel=name, xlim=(0, 1.25 * table.max(axis=None)), ylim=(len(table) - 0.5, -0.5))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter("{x:,.10g}")
        if len(table.columns) > 1:
            axes.legend(frameon=False, fontsize=11, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    sns.despine(figure)
    return figure


def layer_bytes(layers: pd.Series) -> Figure:
    """The bytes of each layer in a checkpoint, and of its header."""
    share, whole = layers.max() / layers.sum(), layers.sum() / 1e6
    title = f"{share:.0%} of the {whole:.2f} MB belong to one layer, {layers.idxmax()}"
    return bars({"bytes": layers.to_frame("bytes")}, title)


def speed(panels: dict[str, pd.DataFrame], digits: Digits) -> Figure:
    """Latency and throughput of the forms, a row each; the first panel has a column p50, in ms."""
    p50 = next(iter(panels.values()))["p50"]
    title = "One digit, median: {PyTorch:.2g} ms in PyTorch, {ONNX:.2g} in ONNX, {int8:.2g} in int8".format(**p50)
    return bars(panels, title, digits)


def program(steps: Sequence[tuple[str, str]], columns: int = 8) -> Figure:
    """A chain of `operations`, each (name, shape of what it makes), in reading order, as boxes with arrows between."""
    colours = {"conv2d": BLUE, "max_pool2d": GREEN, "linear": ORANGE}
    rows = -(-len(steps) // columns)
    title = f"{len(steps) - 1} operations take 28×28 pixels to ten probabilities"
    alt = f"A chain of boxes, each with the shape of what it makes: {', '.join(map(' '.join, steps))}."
    figure = Figure(11.5, 1.15 * rows + 0.7, title, alt)
    axes = bare(figure.subplots())
    arrow = {"arrowstyle": "-|>", "color": "#888888", "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    for index, (name, shape) in enumerate(steps):
        y, x = divmod(index, columns)
        axes.add_patch(Rectangle((x - 0.41, y - 0.3), 0.82, 0.6, color=colours.get(name, GREY), alpha=0.9, lw=0))
        axes.text(x, y - 0.1, name, ha="center", va="center", fontsize=11, fontweight="bold", color="white")
        axes.text(x, y + 0.13, shape, ha="center", va="center", fontsize=10, color="white")
        if x < columns - 1 and index < len(steps) - 1:
            axes.annotate("", (x + 0.58, y), (x + 0.42, y), arrowprops=arrow)
        elif index < len(steps) - 1:  # down, back along the gap, and into the next row
            axes.plot([x, x, 0, 0], [y + 0.3, y + 0.5, y + 0.5, y + 0.6], color=arrow["color"], lw=arrow["lw"])
            axes.annotate("", (0, y + 0.7), (0, y + 0.55), arrowprops=arrow)
    axes.set(xlim=(-0.5, min(columns, len(steps)) - 0.5), ylim=(rows - 0.6, -0.4))
    return figure


def rounding(weights: Tensor, codes: Tensor, steps: Tensor) -> Figure:
    """A layer's first 3×3 weights, the whole numbers they become, and what those stand for; beside them all errors.

    weights, codes: (K, C, 3, 3).  steps: (K, 1, 1, 1), how much weight one code stands for in each filter.
    """
    errors, step = weights / steps - codes, float(steps[0])
    title = f"Rounded to 8 bits, the weights of conv2 move by up to {(errors.abs() * steps).max():.4f}"
    alt = f"Nine weights, their codes, and the codes times the step of {step:.5f}; beside them a histogram of errors, "
    alt += f"none of which is larger than {errors.abs().max():.2f} steps."
    figure = Figure(11.5, 3.5, title, alt)
    parts = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.35])
    tables = {
        "weights": (weights[0, 0], ".4f"),
        f"codes: weight ÷ {step:.5f}": (codes[0, 0].double(), ".0f"),
        "codes × step": (codes[0, 0] * step, ".4f"),
    }
    for axes, sign, (name, (table, form)) in zip(parts, ("→", "→", ""), tables.items(), strict=False):
        draw(bare(axes), table, signed=True)
        write_numbers(axes, table.numpy(), form, dark=0.7 * float(table.abs().max()), fontsize=11)
        heading(axes, name, fontsize=11)
        axes.text(1.09, 0.5, sign, transform=axes.transAxes, fontsize=18, ha="center", va="center")
    parts[3].hist(errors.flatten().numpy(), np.linspace(-0.6, 0.6, 25).tolist(), color=BLUE)
    for edge in (-0.5, 0.5):
        parts[3].axvline(edge, color=ORANGE, linestyle="--", lw=1.5)
    parts[3].set(xlabel="rounding error, in steps", ylabel="weights", box_aspect=0.8)
    heading(parts[3], f"all {errors.numel():,} of the layer", fontsize=11)
    sns.despine(ax=parts[3])
    return figure


def bits(table: pd.DataFrame, digits: Digits) -> Figure:
    """Errors on these digits against the bits of a weight: a column "weights rounded", and one "float32"."""
    wrong, plain = table["weights rounded"], table["float32"].iloc[0]
    enough, least = wrong.index[wrong <= plain + 2].min(), wrong.index.min()
    title = f"{enough} bits a weight: {wrong[enough]} errors instead of {plain}. "
    title += f"With {least} bits: {wrong[least]:,}"
    return plots.curves(table, title, "bits of a weight", f"wrong of {len(digits):,}", log_y=True, of=digits)


def onnx(ours: Tensor, theirs: Tensor, digits: Digits) -> Figure:
    """How far the logits of the same digits are apart in PyTorch and in ONNX, (N, 10) each, beside the leads."""
    differ, apart = int((ours.argmax(1) != theirs.argmax(1)).sum()), float((ours - theirs).abs().max())
    title = f"{differ} of {len(digits):,} answers differ; logits differ by up to {apart:.7f}"
    return differences({"ONNX": theirs - ours}, lead(ours), title, digits)


def int8(whole: Tensor, rounded: Tensor, apart: Tensor, digits: Digits) -> Figure:
    """How far int8 moves the logits of these digits, (N, 10) before and after, beside the leads.

    apart: the differences of logits that ONNX made, of any digits.
    """
    moved, ahead = float((rounded - whole).abs().max()), lead(whole)
    title = f"int8 moves logits by up to {moved:.2f}: that can matter for "
    title += f"{int((ahead < 2 * moved).sum())} of {len(digits):,} digits"
    return differences({"ONNX": apart, "int8": rounded - whole}, ahead, title, digits)


def changed(whole: Tensor, rounded: Tensor, digits: Digits) -> Figure:
    """Eight digits whose answer changed from `whole` to `rounded`, (N, 10) logits, filled up with the most torn."""
    before, after = whole.argmax(1), rounded.argmax(1)
    order = np.lexsort((lead(rounded), before == after))[:8]
    labels = digits.known_labels("be compared")
    row = [
        (digits.images[i, 0], f"label {labels[i]}\n{before[i]} → {after[i]}", bool(before[i] != after[i]))
        for i in order
    ]
    title = f"int8 changes {int((before != after).sum())} of {len(digits):,} answers; here beside the most torn"
    return plots.readings({"float32 → int8": row}, title, digits)


def served(remote: Tensor, local: Tensor, digits: Digits) -> Figure:
    """Digits with the probabilities that the server and this notebook give them, (N, 10) each."""
    said = ", ".join(map(str, remote.argmax(1).tolist()))
    title = f"The server reads {said}, as PyTorch does, with the same confidence"
    labels = digits.known_labels("be named").tolist()
    pictures = {f"a {label}": image for label, image in zip(labels, digits.images[:, 0], strict=True)}
    return plots.answers(pictures, {"from the server": remote, "in this notebook": local}, title, digits)


def differences(found: dict[str, Tensor], leads: Tensor, title: str, of: Sourced | None = None) -> Figure:
    """How far logits moved, one histogram for each named table, beside the leads that keep the answers, log scale.

    leads: of each digit, its largest logit minus the second. What did not move at all is in the legend only.
    """
    told = [f"{name} up to {float(values.abs().max()):.2g}" for name, values in found.items()]
    alt = f"Histograms of how far logits differ: {', '.join(told)}; beside them the leads, from {leads.min():.2g} up."
    figure = Figure(9.5, 3.9, title, alt, of)
    axes = figure.subplots()
    tables = {name: values.abs().flatten().numpy() for name, values in found.items()}
    moved = np.concatenate([values[values > 0] for values in tables.values()] + [leads.numpy()])
    edges = np.logspace(np.floor(np.log10(moved.min())), np.ceil(np.log10(moved.max())), 61).tolist()
    for (name, values), colour in zip(tables.items(), (ORANGE, GREEN), strict=False):
        label = f"{name}: difference of a logit"
        if still := (values == 0).mean():
            label += f" ({still:.0%} are exactly 0)"
        share = np.full(values.shape, 100 / values.size)
        axes.hist(values, edges, weights=share, color=colour, alpha=0.75, label=label)
    share = np.full(leads.shape, 100 / len(leads))
    axes.hist(leads.numpy(), edges, weights=share, color=BLUE, alpha=0.75, label="lead of the answer over the second")
    axes.axvline(float(leads.min()), color=BLUE, linestyle="--", lw=1.5, label=f"smallest lead: {leads.min():.2g}")
    axes.set(xscale="log", xlabel="size (log scale)", ylabel="% of each", xlim=(edges[0], edges[-1]))
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=10, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    sns.despine(figure)
    return figure


@checker
def check_quantise(function: Callable[..., Any]) -> str:
    """quantise(weights) → (codes, step): weights ≈ codes · step, codes int8 from −127 to 127, one step for all."""
    weights = torch.randn(16, 3, 3, generator=torch.Generator().manual_seed(9)) / 10
    weights[3, 1, 1], weights[5, 0, 2] = -0.9, 0.0  # the largest in size is negative
    result = call(function, weights.clone())
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise NotYet("return two things: the codes and the step.")
    codes, given = torch.as_tensor(result[0]), torch.as_tensor(result[1], dtype=torch.float64)
    if codes.shape != weights.shape or given.numel() != 1:
        raise NotYet("one code for each weight is asked for, and one step for all of them.")
    right, step = 0.9 / 127, float(given)
    for message, mistake in {
        "your step is turned round. It is how much weight one code stands for: the largest weight ÷ 127.": 1 / right,
        "with that step the largest weight becomes −128, and its opposite, 128, is no int8. Divide by 127.": 0.9 / 128,
        "your step leaves the largest code at about 64. Codes from −127 to 127 are 254 steps, 127 on each side.": 0.9
        / 63.5,
        "your step comes from the largest weight, but the largest in size is negative. Take abs() first.": float(
            weights.max() / 127
        ),
        "that step spreads 255 codes from the smallest weight to the largest, so that 0 is no code of its own. "
        "Spread them evenly to both sides of 0.": float((weights.max() - weights.min()) / 255),
    }.items():
        if abs(step - mistake) < 1e-4 * mistake:
            raise NotYet(message)
    if abs(step - right) > 1e-4 * right:
        raise NotYet(f"the largest weight, in size, is 0.9, so a step should be {right:.5f}; yours is {step:.5f}.")
    if codes.dtype != torch.int8:
        raise NotYet(f"the step is right; the codes should be torch.int8, and yours are {codes.dtype}.")
    far = float((codes.double() * right - weights.double()).abs().max()) / right
    if far > 0.51:
        hint = " Without rounding, .to(torch.int8) cuts off what is behind the point." if far < 1 else ""
        raise NotYet(f"one weight is {far:.2f} steps away from its code; rounding leaves at most half a step.{hint}")
    return "a quarter of the bytes, and no weight has moved by more than half a step."


@checker
def check_p99(function: Callable[..., Any]) -> str:
    """p99(milliseconds) → the time within which 99 of 100 calls were done."""
    times = np.random.default_rng(9).lognormal(1, 0.8, 1000)
    ranked = np.sort(times)
    got = float(call(function, times.tolist()))
    if ranked[988] <= got <= ranked[991]:  # there are several ways to cut between two calls
        return "one call in a hundred is slower; of those who make a hundred calls, nearly two in three meet one."
    if ranked[8] <= got <= ranked[11]:
        raise NotYet("that is the fast end: only one call in a hundred is faster. Sort upwards.")
    for message, mistake in {
        "that is the slowest call of all, one in a thousand here. A single accident decides it.": ranked[-1],
        "that is the mean. It hides the slow calls among the many fast ones.": times.mean(),
        "that is the median, p50: half of the calls are slower.": np.median(times),
        "that is p90: one call in ten is slower, not one in a hundred.": np.quantile(times, 0.9),
        "that is 99% of the slowest time. Count calls, not milliseconds.": 0.99 * ranked[-1],
        "that is whichever call came at that place. Sort them first.": times[990],
    }.items():
        if abs(got - mistake) < 0.01 * mistake:
            raise NotYet(message)
    raise NotYet(
        f"of 1,000 calls, 990 should take no longer; no longer than your {got:.2f} took {(times <= got).sum()}."
    )


@checker
def check_shapes(function: Callable[..., Any]) -> str:
    """shapes(content) → {name: shape} of every tensor in a safetensors file, read from its header by hand."""
    tensors = {"first.weight": torch.zeros(4, 2, 3, 3), "first.bias": torch.zeros(4), "steps": torch.tensor(7)}
    content = save(tensors, metadata={"format": "pt"})
    try:
        got = call(function, content)
    except (ValueError, MemoryError, OverflowError) as error:
        raise NotYet(
            "what you took for the header is no JSON. It begins at byte 8, and is as long as the first eight bytes "
            f"say, the lowest byte first. ({type(error).__name__}: {error})"
        ) from error
    except KeyError as error:
        raise NotYet(f"an entry has no {error}. One of them, __metadata__, is no tensor: leave it out.") from error
    if not isinstance(got, dict):
        raise NotYet(f"a dict is asked for, name → shape; you return {type(got).__name__}.")
    if "__metadata__" in got:
        raise NotYet("__metadata__ is a note about the file, and no tensor: leave it out.")
    if missing := [name for name in tensors if name not in got]:
        raise NotYet(f"{missing[0]} is in the file and not in your answer.")
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    for name, tensor in tensors.items():
        shape = got[name]
        if isinstance(shape, dict):
            raise NotYet(f"of {name} you give the whole entry; only its shape is asked for.")
        if list(np.ravel(shape)) == header[name]["data_offsets"]:
            raise NotYet(f"that is where the bytes of {name} begin and end. Its shape stands beside that.")
        if np.ndim(shape) != 1 or [int(side) for side in shape] != list(tensor.shape):
            raise NotYet(f"{name} has the shape {list(tensor.shape)}; you say {shape}.")
    return f"{len(content):,} bytes, and not one of them was run as code."
