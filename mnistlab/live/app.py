"""A page that reads digits: one, drawn or uploaded, or many files at once, and the same over HTTP.

It runs on this machine and fetches nothing from elsewhere.
"""

import base64
import io
import json
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from html import escape
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from mnistlab.data.digits import called, normalise
from mnistlab.figures import colours
from mnistlab.hardware import keep_freed_memory, share_freed_memory
from mnistlab.live import explorer
from mnistlab.networks.hooks import recording
from mnistlab.reading.picture import PictureError, prepare
from mnistlab.reading.predictor import Prediction, Predictor

try:
    import gradio as gr
    from gradio.utils import get_upload_folder
except ImportError as error:
    raise ImportError("The page needs gradio. Get it with: pip install -e '.[app]'") from error

MOST_BYTES = 20 * 2**20  # of one upload
MOST_FILES = 500  # at once
HOUR = 60 * 60  # in seconds; how long an upload is kept, at most twice as long
SESSIONS = 100  # whose last picture is kept in memory
WAITING = 256  # requests; one more is told to come back later
HINT = "<p>Nothing to read yet.</p>"
HINT_MANY = f"<p>Choose up to {MOST_FILES} pictures, one digit each.</p>"
# The explorer's pad, without what it shows beside; each new picture on it goes to `show`.
PAD = """
const address = URL.createObjectURL(new Blob([%s], { type: "text/javascript" }));
import(address).then(({ mount }) => {
  const heard = (picture) => {
    if (!picture) return;
    props.value = btoa(Array.from(picture, (byte) => String.fromCharCode(byte)).join(""));
    trigger("input");
  };
  const place = element.firstElementChild;
  mount(place, null, { heard });
  const style = document.createElement("style");
  style.textContent = ".desk { grid-template-columns: 280px; } .seeing { display: none; }";
  place.shadowRoot.append(style);
});
"""
STYLE = (
    f".ml {{ {colours.CSS} }}"
    + """
.ml figure { margin: 0; overflow-x: auto; }
.ml p, .ml figcaption { margin: .2rem 0; overflow-wrap: anywhere; }
.ml h2 { font-size: 1.1rem; font-weight: 600; margin-bottom: .6rem; }
.ml a { text-decoration: underline; }
.ml img { max-width: none; background: #fff; border: 1px solid var(--border-color-primary); }
.ml img { image-rendering: pixelated; }
.ml .verdict { font-size: 1.6rem; font-weight: 600; }
.ml .warning { border-left: 4px solid var(--orange); padding-left: .6rem; }
.ml .bars { display: grid; grid-template-columns: max-content 1fr 4rem; gap: .25rem .6rem; align-items: center; }
.ml .bars { font-variant-numeric: tabular-nums; margin-top: .6rem; }
.ml .bars span:nth-child(3n) { text-align: right; }
.ml .track { height: 1rem; background: var(--border-color-primary); border-radius: 2px; }
.ml .track i { display: block; height: 100%; background: var(--blue); border-radius: 2px; }
.ml .steps { display: flex; flex-wrap: wrap; gap: .8rem; }
.ml .steps img { height: min(7.5rem, 22vw); }
.ml .maps { display: grid; gap: .8rem; }
.ml .maps img { width: 100%; min-width: 40rem; }
.ml .rows { max-width: 48rem; max-height: 32rem; overflow: auto; margin-top: .6rem; }
.ml table { border-collapse: collapse; width: 100%; }
.ml th, .ml td { text-align: left; vertical-align: top; padding: .25rem .9rem .25rem 0; white-space: nowrap; }
.ml td:first-child { width: 100%; white-space: normal; overflow-wrap: anywhere; }
.ml td p { margin: 0; color: color-mix(in srgb, currentColor 75%, transparent); }
.ml tr { border-bottom: 1px solid var(--border-color-primary); }
"""
)


def build(predictor: Predictor | None = None) -> gr.Blocks:
    """The page and its two HTTP endpoints, /predict and /predict_many, around `predictor` or Predictor.load()."""
    predictor = predictor or Predictor.load()
    what = called(predictor.classes)[:-1]
    columns = [f"p{name}" for name in predictor.classes]

    def show(picture: str | None) -> tuple[str, str, str]:
        return _shown(predictor, base64.b64decode(picture)) if picture else (HINT, "", "")

    def show_many(files: list[dict[str, Any]] | None) -> str:
        try:
            return _listed(_read(predictor, files)) if files else HINT_MANY
        except PictureError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    def predict(picture: dict[str, Any] | None) -> dict[str, Any]:
        if not picture:
            raise gr.Error("Send a picture.", print_exception=False)
        try:
            said = asdict(predictor.predict(_place(picture)))
        except PictureError as error:
            raise gr.Error(_own(str(error), picture), print_exception=False) from error
        del said["image"], said["classes"]
        names = (
            {} if what == "digit" else {"name": predictor.classes[said["digit"]] if said["digit"] is not None else None}
        )
        return said | {"probabilities": said["probabilities"].tolist()} | names

    def predict_many(files: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        try:
            table = _read(predictor, files or [])
        except PictureError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return [
            {
                "file": row["file"],
                "digit": row["prediction"],
                **{name: row[name] for name in ("confidence", "margin")},
                "probabilities": None if row["prediction"] is None else [row[name] for name in columns],
                **{name: row[name] for name in ("warning", "error")},
            }
            for row in table.astype(object).where(table.notna(), None).to_dict("records")
        ]

    plain: dict[str, Any] = {"elem_classes": "ml", "apply_default_css": False}
    with gr.Blocks(title="mnistlab", analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        gr.Markdown(f"# Which {what} is this?")
        with gr.Tab(f"One {what}"):
            with gr.Row():
                with gr.Column(min_width=320):
                    pad = gr.HTML(html_template="<div></div>", js_on_load=PAD % json.dumps(explorer.module()))
                with gr.Column(min_width=320, scale=2):
                    answer = gr.HTML(HINT, **plain)
            steps = gr.HTML(**plain)
            maps = gr.HTML(**plain)
        with gr.Tab("Many files"):
            files = gr.File(label="Pictures", file_count="multiple", height=200)
            table = gr.HTML(HINT_MANY, **plain)
        picture, result = gr.File(label="Picture", visible=False), gr.JSON(label="Result", visible=False)

        one: dict[str, Any] = {"concurrency_id": "one", "concurrency_limit": 2}
        many: dict[str, Any] = {"concurrency_id": "many", "concurrency_limit": 1}
        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "always_last"}
        raw: dict[str, Any] = {"preprocess": False}  # so that a file comes with the name that its owner gave it
        pad.input(show, pad, [answer, steps, maps], **one, **hidden)
        files.change(show_many, files, table, api_visibility="private", show_progress="minimal", **raw, **many)
        gr.on([], predict, picture, result, api_name="predict", **raw, **one)
        gr.on([], predict_many, files, result, api_name="predict_many", **raw, **many)
    blocks: gr.Blocks = page.queue(max_size=WAITING)
    return blocks


def launch(predictor: Predictor | None = None, *, host: str = "127.0.0.1", port: int = 7860) -> gr.Blocks:
    """Serve the page; it runs beside what follows, at its `local_url`, until its `close()`.

    host: "0.0.0.0" opens it to every machine that can reach this one; there is no password.
    OSError where the port is taken.
    """
    share_freed_memory()
    keep_freed_memory()
    page = build(predictor)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=MOST_BYTES,
            state_session_capacity=SESSIONS,
            theme=theme,
            css=STYLE,
            prevent_thread_lock=True,
            quiet=True,
            inline=False,
            footer_links=[],
            share=False,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
        )
    except OSError as error:
        raise OSError(f"{host}:{port} cannot be had; something else may be there. Give another port.") from error
    return page


def wait(page: gr.Blocks) -> None:
    """Until Ctrl-C or SIGTERM; the page is then closed and what was uploaded to it deleted. In the main thread only."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while page.is_running:
            time.sleep(0.2)
    except KeyboardInterrupt:
        page.close(verbose=False)


# --- files


def _name(file: dict[str, Any]) -> str:
    return file["orig_name"] or Path(file["path"]).name


def _place(file: dict[str, Any]) -> Path:
    """Where an upload lies; PictureError for other places, of which gradio lets pass what looks like an address."""
    path = Path(file["path"]).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()):
        raise PictureError(f"{_name(file)} was not uploaded. Upload it first.")
    return path


def _own(message: str, file: dict[str, Any]) -> str:
    """With the name that its owner gave the file instead of ours."""
    return message.replace(str(Path(file["path"]).resolve()), _name(file))


def _read(predictor: Predictor, files: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table of `Predictions`, one row a file."""
    if len(files) > MOST_FILES:
        raise PictureError(f"{len(files)} files are more than {MOST_FILES}. Send them in parts.")
    table = predictor.predict_all([_place(file) for file in files]).named()
    table["file"] = [_name(file) for file in files]
    table["error"] = [_own(said, file) for said, file in zip(table["error"], files, strict=True)]
    return table


# --- HTML


def _shown(predictor: Predictor, picture: bytes) -> tuple[str, str, str]:
    """What is said of a picture, the steps to MNIST's form, and the feature maps."""
    try:
        prepared = prepare(picture)
        prediction = predictor.judge(prepared)
    except PictureError as error:
        return f'<p class="warning">{escape(str(error))}</p>', "", ""
    steps = "".join(_figure(step, _grey(pixels)) for step, pixels in prepared.steps.items())
    maps = "" if prediction.digit is None else _maps(predictor, prediction.image)
    return _said(prediction), f'<h2>From the picture to 28×28</h2><div class="steps">{steps}</div>', maps


def _said(prediction: Prediction) -> str:
    bars = "".join(
        f'<b>{escape(name)}</b><span class="track"><i style="width: {chance:.2%}"></i></span><span>{chance:.1%}</span>'
        for name, chance in zip(prediction.classes, prediction.probabilities.tolist(), strict=True)
    )
    warning = f'<p class="warning">{escape(prediction.warning)}</p>' if prediction.warning else ""
    verdict = escape(str(replace(prediction, warning="")))
    return f'<div role="status"><p class="verdict">{verdict}</p>{warning}</div><div class="bars">{bars}</div>'


def _maps(predictor: Predictor, image: Tensor) -> str:
    """The maps of every convolution after its ReLU, of the digit (1, 28, 28), uint8; of a team, its first network's."""
    with torch.inference_mode(), recording(predictor.features) as layers:
        predictor.features(normalise(image[None]))
    figures = ""
    for layer in takewhile(lambda layer: layer.output.ndim == 4, layers):
        if layer.kind == "ReLU":
            maps = layer.output[0].numpy()
            count, high, wide = maps.shape
            caption = f"{layer.name}: {count} maps of {high}×{wide}, white 0, full colour {maps.max():.1f}"
            figures += _figure(caption, _mosaic(maps, 16 if wide > 14 else 32))
    return f'<h2>What each layer makes of it</h2><div class="maps">{figures}</div>' if figures else ""


def _mosaic(maps: np.ndarray, columns: int) -> np.ndarray:
    """(K, H, W) → (rows · (H + 1), columns · (W + 1), 3) uint8, in reading order, grey lines between."""
    share = maps / (maps.max() or 1)
    tiles = 255 - share[..., None] * (255 - np.array(colours.rgb(colours.ORANGE)))
    tiles = np.pad(tiles, [(0, -len(tiles) % columns), (0, 1), (0, 1), (0, 0)], constant_values=200)
    _, high, wide, _ = tiles.shape
    table = tiles.reshape(-1, columns, high, wide, 3).swapaxes(1, 2)
    return table.reshape(-1, columns * wide, 3).round().astype(np.uint8)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """A picture as it is; ink in 0…1 as dark on light."""
    return pixels if pixels.ndim == 3 else (255 - 255 * pixels).round().astype(np.uint8)


def _figure(caption: str, pixels: np.ndarray) -> str:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return f'<figure><img src="{address}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def _listed(table: pd.DataFrame) -> str:
    """A row a file, and a link that holds the whole table as CSV."""
    csv = base64.b64encode(table.to_csv(index=False).encode()).decode()
    rows = ""
    for row in table.to_dict("records"):
        read = ("", "") if pd.isna(row["prediction"]) else (row["prediction"], f"{row['confidence']:.1%}")
        name, remark = escape(row["file"]), escape(row["error"] or row["warning"])
        rows += f"<tr><td>{name}<p>{remark}</p><td>{read[0]}<td>{read[1]}</tr>"
    return (
        f'<a download="digits.csv" href="data:text/csv;charset=utf-8;base64,{csv}">Download digits.csv</a>, '
        "with all ten probabilities of each."
        f'<div class="rows"><table><tr><th>file<th>digit<th>how sure</tr>{rows}</table></div>'
    )
