"""One place for colours, and colours that can be told from the paper."""

import re
from pathlib import Path

import pytest

from mnistlab.figures import colours

ROOT = Path(colours.__file__).parents[1]


def luminance(colour: str) -> float:
    """As the WCAG define it, 0…1."""
    shares = [channel / 255 for channel in colours.rgb(colour)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_rgb():
    assert colours.rgb("#0110ff") == (1, 16, 255)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_words_and_marks_stand_out_from_the_paper():
    for name in ("INK", "GREY", "BLUE", "RED", "DARK_GREEN", "DARK_ORANGE"):
        assert contrast(getattr(colours, name), colours.PAPER) >= 4.5, name
    for name in ("ORANGE", "GREEN", "FOCUS"):
        assert contrast(getattr(colours, name), colours.PAPER) >= 3, name
    assert contrast(colours.FOCUS, "#17181a") >= 3  # a dark page


def test_no_figure_film_or_page_has_a_colour_of_its_own():
    """Greys don't count: they mean nothing."""
    files = [path for room in ("figures", "films", "live") for path in (ROOT / room).rglob("*.*")]
    files = [path for path in files if path.suffix in (".py", ".js", ".css") and path.name != "colours.py"]
    assert len(files) > 10
    for path in files:
        for channels in re.findall(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})\b", path.read_text(encoding="utf-8")):
            size = len(channels) // 3
            assert channels == 3 * channels[:size], f"{path}: #{channels}"
