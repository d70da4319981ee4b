"""Exercises that answer: each checker says right, not yet (and why), or not attempted.

from mnistlab.course import dataset as lesson
lesson.check_ink_share(my_ink_share)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any

from mnistlab.figures.colours import DARK_GREEN, DARK_ORANGE, GREY


@dataclass(frozen=True)
class Verdict:
    """What a checker found. state: "right", "not yet" or "not attempted"."""

    state: str
    message: str

    def __repr__(self) -> str:
        return f"{self.state.capitalize()}: {self.message}"

    def _repr_html_(self) -> str:
        colour = {"right": DARK_GREEN, "not yet": DARK_ORANGE, "not attempted": GREY}[self.state]
        sign = {"right": "✔", "not yet": "✘", "not attempted": "…"}[self.state]
        return (
            f"<p style='border-left:4px solid {colour};padding:.3em .8em'>"
            f"<b style='color:{colour}'>{sign} {self.state.capitalize()}.</b> {escape(self.message)}</p>"
        )


class NotYet(Exception):
    """Raised inside a checker: the answer is wrong, and the message says why without giving it away."""


class NotAttempted(Exception):
    """Raised inside a checker: the stub is as it was."""


def checker(check: Callable[..., str]) -> Callable[..., Verdict]:
    """A checker is a function of the reader's answer: it returns praise, or raises NotYet.

    An answer that is still `...`, or a function that returns it, counts as not attempted; one that fails is
    told its own error.
    """

    @wraps(check)
    def verdict(answer: Any) -> Verdict:
        if answer is ...:
            return Verdict("not attempted", "replace the ... with your answer and run the cell again.")
        try:
            return Verdict("right", check(answer))
        except NotYet as reason:
            return Verdict("not yet", str(reason))
        except NotAttempted:
            return Verdict("not attempted", "replace the ... in the function and run the cell again.")
        except Exception as error:
            return Verdict("not yet", f"your answer stopped with {type(error).__name__}: {error}")

    return verdict


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the reader's function returns; NotYet where the answer is no function, NotAttempted for a stub."""
    if not callable(function):
        raise NotYet(f"a function is asked for, not {type(function).__name__}.")
    result = function(*arguments)
    if result is ...:
        raise NotAttempted
    if result is None:
        raise NotYet("your function returns nothing; end it with 'return …'.")
    return result
