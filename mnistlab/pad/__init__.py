"""A pad for JupyterLab: what is drawn on it arrives in Python after every stroke."""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError("The pad needs anywidget. Get it with: pip install -e .[notebooks]") from error

HERE = Path(__file__).parent
INSTEAD = "Here JupyterLab shows a pad to draw on, once this notebook runs in it."


class Pad(anywidget.AnyWidget):
    """A pad to draw a digit on, dark on light, or to put the picture of one.

    answer: is given the picture's bytes after every stroke; what it returns, or its error, stands under the pad
    size: of the paper's sides, in pixels

    picture: the bytes of a PNG of what was drawn, or of the file as it was; none while the pad is blank.
    Set it to show another; `observe(..., names="picture")` tells of each new one.
    """

    _esm = HERE / "pad.js"
    _css = HERE / "pad.css"
    size = traitlets.Int(280, min=28).tag(sync=True)
    picture = traitlets.CBytes().tag(sync=True, echo_update=False)
    said = traitlets.Unicode().tag(sync=True)

    def __init__(self, answer: Callable[[bytes], str] | None = None, size: int = 280) -> None:
        self._answer = answer
        super().__init__(size=size)

    @property
    def image(self) -> Image.Image | None:
        """The picture, opened with Pillow; None while the pad is blank."""
        return Image.open(io.BytesIO(self.picture)) if self.picture else None

    @traitlets.observe("picture")
    def _say(self, _: dict) -> None:
        self.said = ""
        if self._answer is None or not self.picture:
            return
        try:
            self.said = self._answer(self.picture)
        except ValueError as error:
            self.said = str(error)
        except Exception as error:  # Jupyter would hide it in a log
            self.said = f"{type(error).__name__}: {error}"

    def _repr_mimebundle_(self, **options: object) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**options)
        return data | {"text/plain": INSTEAD}, metadata
