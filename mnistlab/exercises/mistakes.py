"""Checkers for notebook 08."""

from collections.abc import Callable

import numpy as np
import torch

from mnistlab.analysis import coverage, per_digit
from mnistlab.exercises import NotYet, call, checker


@checker
def scores(function: Callable) -> str:
    """scores(counts, digit) → (precision, recall), from a table with a row for each label, a column for each answer."""
    generator = np.random.default_rng(7)
    counts = generator.integers(0, 9, (10, 10)) + np.diag(generator.integers(60, 90, 10))
    labels, predictions = (place.repeat(counts.flatten()) for place in np.indices((10, 10)).reshape(2, -1))
    for digit, right in per_digit(labels, predictions)[["precision", "recall"]].iterrows():
        result = call(function, counts.copy(), digit)
        try:
            precision, recall = (float(value) for value in result)
        except (TypeError, ValueError) as error:
            raise NotYet("return two numbers: the precision, then the recall.") from error
        where = f"for digit {digit}"
        if np.allclose((precision, recall), right):
            continue
        if np.allclose((recall, precision), right):
            raise NotYet(
                f"{where}, the two have changed places: the recall looks along a row, the precision down a column."
            )
        if max(precision, recall) > 1.5:
            raise NotYet(f"{where} you say {precision:.3f} and {recall:.3f}: both are shares, between 0 and 1.")
        if np.isclose((precision, recall), counts[digit, digit] / counts.sum()).any():
            raise NotYet(f"{where} you divide by all digits. Divide by those of one row, or of one column.")
        name = "recall" if np.isclose(precision, right["precision"]) else "precision"
        raise NotYet(f"{where} you say {precision:.3f} and {recall:.3f}; the {name} should be {right[name]:.3f}.")
    return "it agrees for all ten digits. A reader can have a high recall for 9 simply by answering 9 too often."


@checker
def one_step(function: Callable) -> str:
    """one_step(pixels, gradient, step) → pixels moved by `step` grey levels each, so that the loss grows; in 0…255."""
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (28, 28), generator=generator).float()
    pixels[:8], pixels[-2:] = 0, 255
    gradient = torch.randn(28, 28, generator=generator) * 1e-3
    gradient[::5] = 0
    for step in (8, 40):
        got = torch.as_tensor(call(function, pixels.clone(), gradient.clone(), step), dtype=torch.float32)
        moved = pixels + step * gradient.sign()
        if got.shape != pixels.shape:
            raise NotYet(f"a picture of {tuple(pixels.shape)} is asked for; yours is {tuple(got.shape)}.")
        if torch.allclose(got, moved.clamp(0, 255), atol=0.01):
            continue
        if torch.allclose(got, moved, atol=0.01):
            raise NotYet("some pixels left 0…255. There is no paper whiter than white: clamp them.")
        for message, mistake in {
            "you went downhill. The loss grows along the gradient, not against it.": 2 * pixels - moved,
            "the steps follow the size of the gradient. Take its sign only, so that each goes equally far.": pixels
            + step * gradient,
        }.items():
            if any(torch.allclose(got, version, atol=0.01) for version in (mistake, mistake.clamp(0, 255))):
                raise NotYet(message)
        far = int(((got - moved.clamp(0, 255)).abs() > 0.01).sum())
        raise NotYet(f"with a step of {step}, {far} of the {pixels.numel()} pixels are not where they should be.")
    return "one step, every pixel by the same amount, each in the direction that hurts. That is all of FGSM."


@checker
def answered(function: Callable) -> str:
    """answered(confidences, right, accuracy) → largest share that can be answered so that `accuracy` of it is right."""
    generator = np.random.default_rng(7)
    confidences = generator.permutation(np.linspace(0.3, 0.999, 400))
    right = generator.random(400) < confidences**0.2
    right[confidences > 0.99] = True
    order = np.argsort(-confidences)
    first_error = int(np.argmin(right[order])) / 400
    for accuracy in (0.99, 0.97, 1.0):
        table = coverage(confidences, right)
        best = table.loc[table["accuracy"] >= accuracy, "coverage"].max()
        got = float(call(function, confidences.copy(), right.copy(), accuracy))
        if abs(got - best) < 1e-6:
            continue
        lowest = float(confidences[order][round(best * 400) - 1])
        if abs(got - lowest) < 1e-6:
            raise NotYet("that is the threshold. Which share of the digits has at least that confidence?")
        if abs(got - 400 * best) < 1e-6:
            raise NotYet("that is how many. Their share is asked for.")
        if abs(got - (1 - best)) < 1e-6:
            raise NotYet("that is the share that is refused.")
        if abs(got - float((confidences >= accuracy).mean())) < 1e-6:
            raise NotYet("a confidence of 99% is a promise. Count how many of the answers are right instead.")
        if abs(got - first_error) < 1e-6:
            raise NotYet(
                "you stop at the first error. A few errors are allowed, as long as the share stays high enough."
            )
        if got > best:
            kept = right[order][: round(got * 400)].mean() if got <= 1 else np.nan
            raise NotYet(f"of the surest {got:.1%}, only {kept:.2%} are right; {accuracy:.0%} is wanted.")
        raise NotYet(f"more can be answered than {got:.1%} and still keep {accuracy:.0%}: look further down the list.")
    return "the surest first, as far as the promise holds. On new digits, check whether it is kept."
