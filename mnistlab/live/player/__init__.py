"""A film in a page: a WebP that can be stopped, stepped and scrubbed, in one piece of HTML that fetches nothing."""

import base64
import json
from html import escape
from pathlib import Path

from mnistlab.figures import colours

HERE = Path(__file__).parent


def html(webp: bytes, label: str, scenes: list[tuple[int, str]]) -> str:
    """`webp`, animated and lossless, with a player around it, as HTML for a notebook's output or any page.

    label: what the film shows, for those who cannot see it
    scenes: first frame and title of each scene, in order

    Where scripts do not run (an untrusted notebook, GitHub), the reader sees the WebP itself.
    """
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("player.css", "player.js"))
    source = f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
    return (
        f'<div class="mnistlab-player" data-scenes="{escape(json.dumps(scenes))}">\n'
        f"<style>\n.mnistlab-player {{ {colours.CSS} }}\n{style}</style>\n"
        f'<img src="{source}" alt="{escape(label)}">\n'
        f"<script>\n{script}</script>\n"
        "</div>\n"
    )
