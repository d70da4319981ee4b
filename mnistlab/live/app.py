"""A page that reads digits: one, drawn or uploaded, or many files at once, and the same over HTTP.

It runs on this machine and fetches nothing from elsewhere.
"""

import base64
import io
import json
import re
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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

from mnistlab.data.digits import TEN, called, normalise
from mnistlab.figures import colours
from mnistlab.hardware import keep_freed_memory, share_freed_memory
from mnistlab.live import explorer
from mnistlab.networks.hooks import recording
from mnistlab.paths import home
from mnistlab.reading.picture import PictureError, shrunk
from mnistlab.reading.predictor import Prediction, Predictor

try:
    import gradio as gr
    from gradio.utils import get_upload_folder
except ImportError as error:
    raise ImportError("The page needs gradio. Get it with: pip install gradio") from error

MOST_BYTES = 20 * 2**20  # of one upload
MOST_FILES = 500  # at once
HOUR = 60 * 60  # in seconds; how long an upload is kept, at most twice as long
SESSIONS = 100  # whose last picture is kept in memory
WAITING = 256  # requests; one more is told to come back later
LARGE = 400_000  # characters of base64; a larger picture takes a while
HINT = "<p>Nothing to read yet.</p>"
BUSY = "<p>Reading…</p>"
SAMPLES = ("photo_ruled_9_2.jpg", "canvas_colour_5_1.png", "canvas_black_3_3.webp", "canvas_28_0_3.bmp")
ORDERS = {"as they came": None, "least sure first": "confidence", "by what was read": "prediction"}
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
# A picture to click on goes the same way.
PICK = """
for (const button of element.querySelectorAll("button")) {
  button.addEventListener("click", () => {
    props.value = button.dataset.picture;
    trigger("input");
  });
}
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
.ml td:nth-child(2) { width: 100%; white-space: normal; overflow-wrap: anywhere; }
.ml .examples { display: flex; align-items: center; gap: .5rem; flex-wrap: wrap; }
.ml .examples img { height: 2.6rem; width: 2.6rem; cursor: pointer; }
.ml td img { height: 2.6rem; width: 2.6rem; }
.ml td p { margin: 0; color: color-mix(in srgb, currentColor 75%, transparent); }
.ml tr { border-bottom: 1px solid var(--border-color-primary); }
"""
)


def build(predictor: Predictor | None = None) -> gr.Blocks:
    """The page and its two HTTP endpoints, /predict and /predict_many, around `predictor` or Predictor.load()."""
    predictor = predictor or Predictor.load()
    what = called(predictor.classes)[:-1]
    columns = [f"p{name}" for name in predictor.classes]

    def show(picture: str | None) -> Iterator[tuple[str, str, str]]:
        if picture and len(picture) > LARGE:
            yield BUSY, "", ""
        yield _shown(predictor, base64.b64decode(picture)) if picture else (HINT, "", "")

    def show_many(files: list[dict[str, Any]] | None, order: str) -> str:
        try:
            return _listed(_read(predictor, files), [_place(file) for file in files], order) if files else HINT_MANY
        except PictureError as error:
            return f'<p class="warning">{escape(str(error))}</p>'

    def predict(picture: dict[str, Any] | None) -> dict[str, Any]:
        if not picture:
            raise gr.Error("Send a picture.", print_exception=False)
        try:
            said = asdict(predictor.predict(_place(picture)))
        except PictureError as error:
            raise gr.Error(_own(str(error), picture), print_exception=False) from error
        del said["image"], said["classes"], said["strange"]
        if said["digit"] is not None and predictor.classes != TEN:
            said["digit"] = predictor.classes[said["digit"]]  # by its name, as in predict_many
        return said | {"probabilities": said["probabilities"].tolist()}

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
                    examples = gr.HTML(html_template=_examples(), js_on_load=PICK, elem_classes="ml")
                with gr.Column(min_width=320, scale=2):
                    answer = gr.HTML(HINT, **plain)
            steps = gr.HTML(**plain)
            maps = gr.HTML(**plain)
        with gr.Tab("Many files"):
            files = _uploaded(label="Pictures", file_count="multiple", height=200)
            order = gr.Radio(list(ORDERS), value=next(iter(ORDERS)), label="In order")
            table = gr.HTML(HINT_MANY, **plain)
        picture, result = _uploaded(label="Picture", visible=False), gr.JSON(label="Result", visible=False)

        one: dict[str, Any] = {"concurrency_id": "one", "concurrency_limit": 2}
        many: dict[str, Any] = {"concurrency_id": "many", "concurrency_limit": 1}
        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "trigger_mode": "always_last"}
        raw: dict[str, Any] = {"preprocess": False}  # so that a file comes with the name that its owner gave it
        pad.input(show, pad, [answer, steps, maps], **one, **hidden)
        examples.input(show, examples, [answer, steps, maps], **one, **hidden)
        listed: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", **raw, **many}
        gr.on([files.change, order.change], show_many, [files, order], table, **listed)
        gr.on([], predict, picture, result, api_name="predict", **raw, **one)
        gr.on([], predict_many, files, result, api_name="predict_many", **raw, **many)
    blocks: gr.Blocks = page.queue(max_size=WAITING)
    return blocks


def launch(
    predictor: Predictor | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: tuple[str, str] | None = None,
    share: bool = False,
    root_path: str | None = None,
    in_browser: bool = False,
) -> gr.Blocks:
    """Serve the page; it runs beside what follows, at its `local_url`, until its `close()`.

    host: "0.0.0.0" opens it to every machine that can reach this one.  auth: a user's name and password, which it then
    asks for.  share: gradio opens a tunnel, and everybody who has its `share_url` can come, as from a
    notebook on Colab.  root_path: where a proxy puts it, such as "/user/ann/proxy/7860" on JupyterHub.
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
            share=share,
            root_path=root_path,
            auth=auth,
            inbrowser=in_browser,
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


def _uploaded(**options: Any) -> gr.File:
    """A place for files that a visitor uploads. gradio would also fetch addresses, and other machines' secrets so."""
    place = gr.File(**options)
    own = place.async_move_resource_to_block_cache

    async def no_address(resource: Any) -> Any:
        if re.match(r"[a-z][a-z0-9+.-]*://", str(resource), re.I):
            raise gr.Error("This page fetches no addresses. Upload the picture.", print_exception=False)
        return await own(resource)

    setattr(place, own.__name__, no_address)
    return place


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
        prepared = predictor.prepare(picture)
        prediction = predictor.judge(prepared)
    except PictureError as error:
        return f'<p class="warning">{escape(str(error))}</p>', "", ""
    steps = "".join(_figure(step, _grey(pixels)) for step, pixels in prepared.steps.items())
    maps = "" if prediction.digit is None else _maps(predictor, prediction.image)
    return _said(prediction), f'<h2>From the picture to 28×28</h2><div class="steps">{steps}</div>', maps


def _examples() -> str:
    """A button for each example that is here; installed apart from its repository, mnistlab has none."""
    paths = [path for path in (home() / "data" / "samples" / name for name in SAMPLES) if path.is_file()]
    buttons = "".join(
        f'<button type="button" aria-label="Example {number}" '
        f'data-picture="{base64.b64encode(path.read_bytes()).decode()}">{_thumbnail(path)}</button>'
        for number, path in enumerate(paths, start=1)
    )
    return f'<div class="examples">{"Or take one of these: " if buttons else ""}{buttons}</div>'


def _said(prediction: Prediction) -> str:
    bars = "".join(
        f'<b>{escape(name)}</b><span class="track"><i style="width: {chance:.2%}"></i></span><span>{chance:.1%}</span>'
        for name, chance in zip(prediction.classes, prediction.probabilities.tolist(), strict=True)
    )
    warning = f'<p class="warning">{escape(prediction.warning)}</p>' if prediction.warning else ""
    verdict = str(replace(prediction, warning=""))
    verdict = escape(verdict[:1].upper() + verdict[1:] if prediction.strange else verdict)
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


def _listed(table: pd.DataFrame, files: Sequence[Path], order: str) -> str:
    """How many were read and as what, a link that holds the whole table as CSV, and a row a file with its picture."""
    csv = base64.b64encode(table.to_csv(index=False).encode()).decode()
    with ThreadPoolExecutor() as pool:
        shown = table.assign(picture=list(pool.map(_thumbnail, files)))
    if by := ORDERS[order]:
        shown = shown.sort_values(by, na_position="first", kind="stable")
    rows = ""
    for row in shown.to_dict("records"):
        read = ("", "") if pd.isna(row["prediction"]) else (escape(str(row["prediction"])), f"{row['confidence']:.1%}")
        name, remark = escape(row["file"]), escape(row["error"] or row["warning"])
        rows += f"<tr><td>{row['picture']}<td>{name}<p>{remark}</p><td>{read[0]}<td>{read[1]}</tr>"
    answers = table["prediction"].value_counts().sort_index()
    said = ", ".join(f"{escape(str(name))} × {count:,}" for name, count in answers.items())
    doubtful, unread = int((table["warning"] != "").sum()), int((table["error"] != "").sum())
    return (
        f"<p>{len(table):,} pictures, {doubtful:,} with a warning, {unread:,} could not be read. "
        f"{f'Read as {said}.' if said else ''}</p>"
        f'<a download="digits.csv" href="data:text/csv;charset=utf-8;base64,{csv}">Download digits.csv</a>, '
        "with the probability of each class."
        f'<div class="rows"><table><tr><th>picture<th>file<th>read as<th>how sure</tr>{rows}</table></div>'
    )


def _thumbnail(file: Path) -> str:
    """The picture, small and grey, as ink on paper; nothing where it is none."""
    try:
        pixels = shrunk(file)[0].numpy()
    except PictureError:
        return ""
    png = io.BytesIO()
    Image.fromarray(255 - pixels).save(png, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}">'
