"""The colours of every figure, film and page, as #rrggbb. A colour means the same wherever it stands."""

PAPER, INK, GREY, PALE = "#ffffff", "#1a1a1a", "#6b6b6b", "#d9d9d9"
BLUE, ORANGE = "#1763a6", "#d9730d"  # below zero, above zero
GREEN = "#1e8c3c"  # the cell that is followed
YELLOW = "#ffd000"  # being computed
RED = "#c81e1e"  # a wrong answer
FOCUS = "#3a86c8"  # the control that the keyboard is on; stands out on light and on dark pages
DARK_GREEN, DARK_ORANGE = "#2e8540", "#b85c00"  # for words, which need more contrast than lines and areas

# As a page's style sheet takes them: var(--blue).
CSS = f"--blue: {BLUE}; --orange: {ORANGE}; --green: {GREEN}; --focus: {FOCUS};"


def rgb(colour: str) -> tuple[int, int, int]:
    """#rrggbb → red, green and blue, each 0…255."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
