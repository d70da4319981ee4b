"""Shares with the interval around them: how far a count of errors can be trusted."""

from typing import Any, NamedTuple


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's 95% interval for a share of `right` out of `count`.

    >>> low, high = wilson(9_972, 10_000)
    >>> f"{low:.2%} to {high:.2%}"
    '99.60% to 99.81%'
    """
    from scipy.stats import binomtest

    low, high = binomtest(right, count).proportion_ci(method="wilson")
    return float(low), float(high)


def in_words(errors: int, count: int) -> str:
    """An accuracy as it should be told: with the errors, the digits and Wilson's 95% interval."""
    low, high = wilson(count - errors, count)
    return f"{errors} wrong of {count:,}: {1 - errors / count:.2%} right (95% interval {low:.2%} to {high:.2%})"


class Evaluation(NamedTuple):
    """How a network does on labelled digits: `errors` wrong of `count`, and the mean cross-entropy `loss`."""

    errors: int
    count: int  # type: ignore[assignment]  # a tuple's own count() goes, and nobody misses it
    loss: float

    @property
    def accuracy(self) -> float:
        return 1 - self.errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval for the accuracy: what other digits of the same kind might have given."""
        return wilson(self.count - self.errors, self.count)

    def __str__(self) -> str:
        return in_words(self.errors, self.count)

    def card(self) -> dict[str, Any]:
        """The figures as a checkpoint's card keeps them."""
        return {**self._asdict(), "accuracy": self.accuracy, "wilson_95": list(self.interval)}
