"""Draw data/samples/: pictures of handwritten digits for the tests, from our own strokes alone.

    python -m tools.draw_samples [folder]

The forms and the kinds of picture are those of tools/glyphs.py and tools/pictures.py; no digit of MNIST is
among them, so they may be passed on. The same code draws the same files again.
"""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mnistlab as ml
from tools.glyphs import FORMS, written
from tools.pictures import MAKERS, OTHERS, Picture, make, row

COUNT = 120
LARGEST = 20_000  # bytes: a repository is no place for large pictures
SHOWN = [
    *("blank_canvas_black", "blank_scan_clean", "blank_photo_paper", "blank_photo_shadow", "blank_photo_squared"),
    *("letter_capital_A", "letter_capital_H", "letter_capital_K", "letter_capital_W", "letter_small_e"),
    *("scribble_canvas_white", "scribble_photo_paper", "clouds", "face", "checkerboard", "gradient"),
]
ROWS = ("12", "407", "3865", "921", "50", "1974")


def small(draw: Callable[[], Picture]) -> Picture:
    """The first of the pictures that `draw` gives which takes little room."""
    while len((picture := draw()).data) > LARGEST:
        pass
    return picture


def digit(number: int) -> tuple[str, str, str, Picture]:
    """File, label, kind and picture of one of COUNT samples: all kinds in turn, all forms of all digits in turn."""
    kinds, forms = list(MAKERS), FORMS[str(number % 10)]
    again = number // len(kinds)
    label, kind = str(number % 10), kinds[(number + again) % len(kinds)]  # else a kind would meet but two digits
    rng = np.random.default_rng([number])
    picture = small(lambda: make(kind, written(forms[number // 10 % len(forms)], rng), rng))
    return f"{kind}_{label}_{again + 1}.{picture.suffix}", label, kind, picture


def other(name: str) -> tuple[str, str, str, Picture]:
    rng = np.random.default_rng([COUNT, SHOWN.index(name)])
    picture = small(lambda: OTHERS[name](rng))
    return f"{name}.{picture.suffix}", "", name.split("_")[0], picture


def several(answer: str) -> tuple[str, str, str, Picture]:
    rng = np.random.default_rng([COUNT, int(answer)])
    picture = small(lambda: row(answer, rng))
    return f"row_{answer}.{picture.suffix}", answer, "row", picture


def write(folder: Path, drawn: list[tuple[str, str, str, Picture]]) -> None:
    """The pictures into a folder, with labels.csv (file, label, kind)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, _, _, picture in drawn:
        (folder / name).write_bytes(picture.data)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "label", "kind"))
        table.writerows(line[:3] for line in drawn)


def main(folder: Path) -> None:
    write(folder, [digit(number) for number in range(COUNT)])
    write(folder / "others", [other(name) for name in SHOWN])
    write(folder / "rows", [several(answer) for answer in ROWS])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ml.home() / "data" / "samples")
