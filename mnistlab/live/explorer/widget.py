"""The explorer as a widget for JupyterLab: what is drawn on its pad arrives in Python after every stroke."""

import io
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mnistlab.data.digits import Digits
from mnistlab.live import explorer
from mnistlab.runs import Run

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError("The widget needs anywidget. Get it with: pip install anywidget") from error


class Explorer(anywidget.AnyWidget):
    """The page of `explorer.show`, dark on light, whose picture Python sees; or its pad alone.

    run: the network on the page; None for a pad that only shows how a picture comes into MNIST's form
    answer: is given the picture's bytes after every stroke; what it returns, or its error, stands under the pad
    digits: to pick from; by default, beside a network, the first of each class in the test set

    picture: the bytes of a PNG of what was drawn, or of the file as it was; none while the pad is blank.
    Set it to show another; `observe(..., names="picture")` tells of each new one.
    """

    _esm = explorer.module()
    network = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    weights = traitlets.CBytes().tag(sync=True)
    digits: traitlets.List[Any] = traitlets.List().tag(sync=True)
    picture = traitlets.CBytes().tag(sync=True, echo_update=False)
    digit = traitlets.CBytes().tag(sync=True, echo_update=False)
    said = traitlets.Unicode().tag(sync=True)
    mark = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        run: Run | nn.Sequential | None = None,
        answer: Callable[[bytes], str] | None = None,
        digits: Digits | None = None,
    ) -> None:
        self._answer = answer
        mark = token_hex(8)
        self._page = page = replace(explorer.show(run, digits), beside=mark)
        super().__init__(network=page.network, weights=page.weights, digits=page.digits, mark=mark)

    @property
    def image(self) -> Image.Image | None:
        """The picture, opened with Pillow; None while the pad is blank."""
        return Image.open(io.BytesIO(self.picture)) if self.picture else None

    @property
    def in_form(self) -> Tensor | None:
        """(1, 28, 28) uint8: the digit as the page made it of what it showed last; None where there is none."""
        return torch.frombuffer(bytearray(self.digit), dtype=torch.uint8).view(1, 28, 28) if self.digit else None

    @traitlets.observe("picture")
    def _say(self, _: dict[str, Any]) -> None:
        self.said = ""
        if self._answer is None or not self.picture:
            return
        try:
            self.said = self._answer(self.picture)
        except ValueError as error:
            self.said = str(error)
        except Exception as error:  # Jupyter would hide it in a log
            self.said = f"{type(error).__name__}: {error}"

    def _ipython_display_(self) -> None:
        """As a widget; and below it, hidden while that is alive, as the page that needs no kernel.

        They are two outputs, because of one with both, nbconvert takes the widget, and shows nothing.
        """
        from IPython.display import HTML, display

        data, metadata = super()._repr_mimebundle_() or ({}, {})
        view = {name: data[name] for name in data if "widget" in name}
        display(view, metadata=metadata, raw=True)
        display(HTML(self._page.html))
