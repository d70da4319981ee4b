"""Make visualizations/explorer.png: the explorer with a drawn digit, as a browser shows it.

python -m tools.draw_explorer
"""

import tempfile
from pathlib import Path

import mnistlab as ml
from mnistlab.live import explorer
from mnistlab.paths import written_whole
from tools.browser import launched

STROKE = (
    (0.3, 0.3),
    (0.45, 0.2),
    (0.65, 0.25),
    (0.62, 0.42),
    (0.45, 0.48),
    (0.66, 0.55),
    (0.66, 0.75),
    (0.45, 0.82),
    (0.28, 0.74),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        file = explorer.write(ml.load(ml.home() / "models" / "cnn.safetensors"), Path(folder) / "explorer.html")
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto(file.as_uri())
        page.wait_for_function("document.querySelector('.mnistlab-explorer').explorer?.read()?.outputs")
        box = page.locator("canvas.pad").bounding_box()
        (left, top), *others = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in STROKE)
        page.mouse.move(left, top)
        page.mouse.down()
        for x, y in others:
            page.mouse.move(x, y, steps=5)
        page.mouse.up()
        page.wait_for_timeout(500)
        page.get_by_role("button", name="conv3", exact=True).click()
        page.wait_for_timeout(1000)
        with written_whole(ml.home() / "visualizations" / "explorer.png") as part:
            part.write_bytes(page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1100, "height": 1470}))


if __name__ == "__main__":
    main()
