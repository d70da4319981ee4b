"""The explorer's pad: in a page with a model of ours, and in JupyterLab with Python behind it."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

import mnistlab as ml
from mnistlab.live import explorer
from mnistlab.live.explorer.widget import Explorer
from tests.pages import watched

EVIL = "<img src=x onerror=alert(1)>\n& two"
HINT = "Draw a digit, or choose, drop or paste a picture of one."


def picture_of(colour: str = "red", size: tuple[int, int] = (60, 30), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


RED, BLUE = picture_of(), picture_of("blue", kind="JPEG")


# In Python


def test_answers_to_each_new_picture():
    asked = []

    def answer(picture: bytes) -> str:
        asked.append(picture)
        if len(asked) == 2:
            raise ValueError("Not a digit.")
        return f"{len(asked)}" if len(asked) < 3 else 3  # no text

    drawn = Explorer(answer=answer)
    heard = []
    drawn.observe(lambda change: heard.append(change.new), names="picture")
    assert drawn.picture == b"" and drawn.image is None and drawn.in_form is None and drawn.said == "" and not asked
    drawn.picture = memoryview(RED)  # as it comes from the browser
    assert drawn.said == "1" and drawn.image.size == (60, 30)
    drawn.picture = BLUE
    assert drawn.said == "Not a digit."
    drawn.picture = RED
    assert "TraitError" in drawn.said
    drawn.picture = b""
    assert drawn.said == "" and drawn.image is None
    drawn.digit = memoryview(bytes(range(196)) * 4)
    assert drawn.in_form.shape == (1, 28, 28) and drawn.in_form.flatten().tolist() == [*range(196)] * 4
    assert heard == [RED, BLUE, RED, b""] and asked == heard[:3] and {type(each) for each in asked} == {bytes}


def test_the_library_needs_no_anywidget_and_the_widget_says_what_it_needs():
    command = (
        "import sys; sys.modules['anywidget'] = None; import mnistlab, mnistlab.live.explorer; "
        "assert not {'ipywidgets', 'traitlets'} & set(sys.modules); from mnistlab.live.explorer import widget"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert "ImportError: The widget needs anywidget. Get it with: pip install anywidget" in done.stderr


def test_where_no_kernel_runs_the_page_stands_for_it(test_digits, monkeypatch):
    shown, outputs = Explorer(ml.CNN(), digits=test_digits[:2]), []
    monkeypatch.setattr("IPython.display.display", lambda thing, **_: outputs.append(thing))
    shown._ipython_display_()
    view, page = outputs
    assert list(view) == ["application/vnd.jupyter.widget-view+json"]
    beside = f' data-beside="{shown.mark}"'
    assert page.data.replace(beside, "") == explorer.show(ml.CNN(), test_digits[:2]).html and beside in page.data
    assert (shown.network, shown.weights) == (explorer.packed(ml.CNN())[0] | {}, explorer.packed(ml.CNN())[1])
    pad = Explorer()
    assert pad.network is None and pad.digits == [] and pad.weights == b""
    with pytest.raises(explorer.ExplorerError):
        Explorer(ml.Ensemble(1))


def test_a_widget_folds_and_packs_its_network_once(test_digits, monkeypatch):
    packed, asked = explorer.packed, []
    monkeypatch.setattr(explorer, "packed", lambda run: asked.append(run) or packed(run))
    model = ml.CNN()
    Explorer(model, digits=test_digits[:2])._ipython_display_()
    assert asked == [model]


# In a page, with a model that keeps what is saved

MODEL = """async ([script, state]) => {
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const view = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const handlers = {};
  window.saved = [];
  window.model = {
    get: (name) => state[name],
    set(name, value) {
      if (state[name] === value) return;
      state[name] = value;
      for (const handler of handlers[name] ?? []) handler();
    },
    on: (event, handler) => (handlers[event.replace("change:", "")] ??= []).push(handler),
    off: (event, handler) => {
      const name = event.replace("change:", "");
      handlers[name] = handlers[name].filter((other) => other !== handler);
    },
    save_changes: () => saved.at(-1)?.picture === state.picture ? (saved.at(-1).digit = state.digit) : saved.push({ ...state }),
  };
  for (const name of ["picture", "weights"]) state[name] = view(state[name]);
  state.digit = new DataView(new ArrayBuffer(0));
  saved.push({ ...state });
  window.views = [...document.querySelectorAll(".view")].map((el) => widget.render({ model, el }));
}"""
SAVED = """() => saved.slice(1).map(({ picture, said }) =>
  [btoa(String.fromCharCode(...new Uint8Array(picture.buffer))), said])"""


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page with a widget; at the end nothing has gone wrong in it, and it has asked for nothing."""
    path = tmp_path / "page.html"
    pages = ExitStack()

    def show(drawn: Explorer | None = None, said: str = "", picture: bytes = b"", views: int = 1, **options) -> Page:
        drawn = drawn or Explorer()
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Pad</title>'
        body = "<style>:root { color-scheme: light dark }</style>" + '<div class="view"></div>' * views
        path.write_text(f'<!DOCTYPE html><html lang="en">{head}<body>{body}', encoding="utf-8")
        page = pages.enter_context(watched(browser, "blob:", path.as_uri(), **options))
        page.goto(path.as_uri())
        state = {"said": said, "network": drawn.network, "digits": drawn.digits}
        state |= {"picture": base64.b64encode(picture).decode(), "weights": base64.b64encode(drawn.weights).decode()}
        page.evaluate(MODEL, [str(Explorer._esm), state])
        return page

    with pages:
        yield show


def saved(page: Page, count: int) -> list[bytes]:
    """The `count` pictures that went to Python so far; what had been said of the last is gone each time."""
    page.wait_for_function("count => saved.length > count", arg=count)
    told = page.evaluate(SAVED)
    assert len(told) == count
    assert all(said == "" for _, said in told)
    return [base64.b64decode(picture) for picture, _ in told]


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def paper(page: Page, nth: int = 0) -> np.ndarray:
    """What the canvas shows."""
    address = page.locator(".pad").nth(nth).evaluate("canvas => canvas.toDataURL()")
    return pixels(base64.b64decode(address.split(",")[1]))


def draw(canvas: Locator, *points: tuple[float, float], steps: int = 8) -> None:
    """A stroke with the mouse through `points`, in shares of the canvas."""
    canvas.scroll_into_view_if_needed()
    box, mouse = canvas.bounding_box(), canvas.page.mouse
    (left, top), *others = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points)
    mouse.move(left, top)
    mouse.down()
    for x, y in others:
        mouse.move(x, y, steps=steps)
    mouse.up()


def test_a_stroke_is_where_it_was_drawn(show):
    page = show()
    page.evaluate("HTMLImageElement.prototype.decode = 'what was drawn here need not be decoded'")
    draw(page.locator(".pad"), (0.25, 0.25), (0.25, 0.75), (0.75, 0.75))
    (picture,) = saved(page, 1)
    ink = pixels(picture)
    np.testing.assert_array_equal(ink, paper(page))
    assert ink.shape == (280, 280, 3) and ink[0, 0].tolist() == [255] * 3 and ink[140, 70].tolist() == [0] * 3
    dark = ink[:, :, 0] < 128
    rows, columns = np.nonzero(dark)
    assert [rows.min(), rows.max(), columns.min(), columns.max()] == pytest.approx([60, 219, 60, 219], abs=2)
    assert dark[100, 60:80].sum() == pytest.approx(20, abs=1) and not dark[:180, 90:].any()
    assert dark[210, 100:200].all() and not dark[195, 100:200].any()
    assert page.get_by_role("img", name="Paper with a picture").count() == 1


def test_a_click_is_a_dot_and_a_quick_stroke_is_smooth(show):
    page = show()
    canvas = page.locator(".pad")
    draw(canvas, (0.5, 0.5))
    (dot,) = saved(page, 1)
    assert (pixels(dot)[:, :, 0] < 128).sum() == pytest.approx(np.pi * 10**2, rel=0.05)
    page.get_by_role("button", name="Undo").click()
    draw(canvas, *((x, y) for y in (0.46, 0.5, 0.54) for x in (0.4, 0.6)))
    saved(page, 3)
    draw(canvas, (0.5, 0.5))  # changes nothing, so there is nothing to tell or to undo
    page.get_by_role("button", name="Undo").click()
    assert saved(page, 4)[3:] == [b""]
    angles = np.linspace(0, 2 * np.pi, 9)
    draw(canvas, *((0.5 + 0.3 * np.sin(a), 0.5 - 0.3 * np.cos(a)) for a in angles), steps=1)
    rows, columns = np.nonzero(pixels(saved(page, 5)[-1])[:, :, 0] < 128)
    radius = np.hypot(rows - 139.5, columns - 139.5)
    assert radius.min() > 0.92 * 84 - 11
    assert radius[rows > 70].max() < 0.93 * 84 + 11  # with corners, but at its start and end, it would be 84 + 10


@pytest.mark.parametrize("kind", ["mouse", "pen", "touch"])
def test_mouse_pen_and_finger(show, kind):
    page = show(has_touch=True)
    page.add_style_tag(content="body { height: 3000px }")
    devtools = page.context.new_cdp_session(page)
    box = page.locator(".pad").bounding_box()
    places = [(box["x"] + 140, box["y"] + 40 + 10 * k) for k in range(20)]
    for k, (x, y) in enumerate([*places, places[-1]]):
        stage = 0 if k == 0 else 2 if k == len(places) else 1
        if kind == "touch":
            name = ("touchStart", "touchMove", "touchEnd")[stage]
            points = [] if stage == 2 else [{"x": x, "y": y, "id": 1}, {"x": x + 90, "y": y, "id": 2}]
            devtools.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": points})
        else:
            name = ("mousePressed", "mouseMoved", "mouseReleased")[stage]
            pressed = {"button": "left", "buttons": 1, "clickCount": 1}
            devtools.send("Input.dispatchMouseEvent", {"type": name, "x": x, "y": y, "pointerType": kind, **pressed})
    dark = pixels(saved(page, 1)[0])[:, :, 0] < 128
    assert dark[45:225, 140].all() and not dark[:, 160:].any() and page.evaluate("scrollY") == 0


def test_a_stroke_may_leave_the_paper_and_come_back(show):
    page = show()
    draw(page.locator(".pad"), (0.5, 0.5), (1.5, 0.5), (1.5, 0.8), (0.5, 0.8))
    (picture,) = saved(page, 1)
    dark = pixels(picture)[:, :, 0] < 128
    assert dark[140, 150:].all() and dark[224, 150:].all()
    page.mouse.move(100, 100)  # the pen is up
    np.testing.assert_array_equal(paper(page), pixels(picture))


def test_other_buttons_do_not_draw(show):
    page = show()
    page.locator(".pad").click(button="right")
    page.locator(".pad").click(button="middle")
    assert (paper(page) == 255).all()
    draw(page.locator(".pad"), (0.5, 0.5))
    saved(page, 1)


def test_undo_and_clear(show):
    page = show()
    canvas, undo, clear = page.locator(".pad"), *(page.get_by_role("button", name=n) for n in ("Undo", "Clear"))
    undo.click()
    clear.click()  # neither changes anything
    draw(canvas, (0.2, 0.2), (0.2, 0.8))
    (one,) = saved(page, 1)
    draw(canvas, (0.8, 0.2), (0.8, 0.8))
    one, two = saved(page, 2)
    undo.click()
    assert saved(page, 3)[2:] == [one]
    np.testing.assert_array_equal(paper(page), pixels(one))
    draw(canvas, (0.8, 0.2), (0.8, 0.8))
    saved(page, 4)
    clear.click()
    assert saved(page, 5)[3:] == [two, b""] and (paper(page) == 255).all()
    expect(page.get_by_role("img", name="Blank paper")).to_be_visible()
    undo.click()
    assert saved(page, 6)[5:] == [two]
    np.testing.assert_array_equal(paper(page), pixels(two))


def test_every_control_by_keyboard(show):
    page = show()
    red = {"name": "red.png", "mimeType": "image/png", "buffer": RED}
    # Well before it comes, because it takes a while until playwright is told of choosers.
    page.on("filechooser", lambda chooser: chooser.set_files(red))
    draw(page.locator(".pad"), (0.2, 0.2), (0.8, 0.8))
    saved(page, 1)
    expect(page.locator(".pad")).to_be_focused()
    for name, count in {"Undo": 2, "Clear": 4, "Picture…": 5}.items():
        page.keyboard.press("Tab")
        button = page.get_by_role("button", name=name, exact=True)
        expect(button).to_be_focused()
        assert button.evaluate("button => getComputedStyle(button).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        saved(page, count)
        if name == "Undo":
            draw(page.locator(".pad"), (0.2, 0.8), (0.8, 0.2))
            saved(page, 3)
            page.keyboard.press("Tab")
    assert [len(picture) > 0 for picture in saved(page, 5)] == [True, False, True, False, True]
    assert saved(page, 5)[-1] == RED


def drop(page: Page, name: str, content: bytes) -> None:
    """Drops a file on the pad."""
    page.locator(".pad").evaluate(
        """(canvas, [name, content]) => {
          const dataTransfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          dataTransfer.items.add(new File([bytes], name));
          for (const type of ["dragover", "drop"]) {
            const event = new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true });
            if (canvas.dispatchEvent(event)) throw new Error(`${type} is left to the browser`);
          }
        }""",
        [name, base64.b64encode(content).decode()],
    )


def test_a_file_arrives_as_it_is_and_can_be_drawn_on(show):
    page = show()
    canvas = page.locator(".pad")
    drop(page, "blue.jpg", BLUE)
    assert saved(page, 1) == [BLUE]
    shown = paper(page)
    assert (shown[:69] == 255).all() and (shown[211:] == 255).all()
    np.testing.assert_allclose(shown[72:208].astype(int), np.full((136, 280, 3), [0, 0, 254]), atol=2)
    draw(canvas, (0.2, 0.5), (0.8, 0.5))
    both = pixels(saved(page, 2)[1])
    assert both[140, 140].tolist() == [0] * 3 and both[100, 140, 2] > 250
    for count, expected in ((3, BLUE), (4, b"")):
        page.get_by_role("button", name="Undo").click()
        assert saved(page, count)[-1] == expected
    page.locator("input").set_input_files({"name": "red.png", "mimeType": "image/png", "buffer": RED})
    assert saved(page, 5)[4] == RED


def test_a_picture_is_pasted_into_the_pad_in_use(show):
    page = show(views=2, permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """content => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          return navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
        }""",
        base64.b64encode(RED).decode(),
    )
    page.keyboard.press("Control+V")  # into neither
    page.locator(".pad").nth(1).focus()
    page.keyboard.press("Control+V")
    (picture,) = saved(page, 1)
    assert (pixels(picture) == pixels(RED)).all()
    page.evaluate("views.forEach((remove) => remove())")
    page.keyboard.press("Control+V")
    page.wait_for_timeout(100)
    saved(page, 1)


def test_what_is_no_picture_changes_nothing(show, tmp_path):
    page = show()
    output = page.locator(".said")
    draw(page.locator(".pad"), (0.5, 0.5))
    saved(page, 1)
    before = paper(page)
    for name, content in {
        EVIL: b"no picture",
        "empty.png": b"",
        "half.png": RED[:40],
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    }.items():
        drop(page, name, content)
        expect(output).to_have_text(f"{name} is not a picture that this browser can show.", use_inner_text=True)
    (tmp_path / "huge.png").write_bytes(bytes(10_000_001))
    page.locator("input").set_input_files(tmp_path / "huge.png")
    expect(output).to_have_text("huge.png has more than 10 MB. Make it smaller.")
    np.testing.assert_array_equal(paper(page), before)
    saved(page, 1)


def test_what_python_says_is_text(show):
    page = show()
    output = page.locator(".said")
    expect(output).to_have_text(HINT)
    draw(page.locator(".pad"), (0.5, 0.5))
    expect(output).to_have_text("")
    page.evaluate("said => model.set('said', said)", EVIL)
    assert output.inner_text() == EVIL and output.locator("*").count() == 0
    draw(page.locator(".pad"), (0.5, 0.54))  # that was of another picture
    expect(output).to_have_text("")
    page.evaluate("model.set('said', '7')")
    page.get_by_role("button", name="Clear").click()
    expect(output).to_have_text(HINT)
    draw(page.locator(".pad"), (0.2, 0.3), (0.2, 0.7))
    draw(page.locator(".pad"), (0.7, 0.3), (0.7, 0.8))
    expect(output).to_have_text("2 digits; the largest is read.")
    drop(page, "red.png", RED)
    expect(output).to_have_text("No digit is to be seen on it.")


def test_what_python_or_another_view_puts_is_shown(show):
    page = show(picture=RED, said="red", views=2)
    red = [255, 0, 0]
    expect(page.get_by_role("img", name="Paper with a picture")).to_have_count(2)
    assert paper(page, 0)[140, 140].tolist() == paper(page, 1)[140, 140].tolist() == red
    expect(page.locator(".said").nth(1)).to_have_text("red")
    draw(page.locator(".pad").nth(0), (0.5, 0.5))
    page.wait_for_function(
        "document.querySelectorAll('.view')[1].shadowRoot.querySelector('.pad').getContext('2d')"
        ".getImageData(140, 140, 1, 1).data[0] < 99"
    )
    saved(page, 1)
    page.get_by_role("button", name="Undo").nth(1).click()
    assert saved(page, 2)[1:] == [RED] and paper(page, 1)[140, 140].tolist() == red
    page.evaluate(
        """addresses => {
          const [decode, views] = [HTMLImageElement.prototype.decode, 2];
          let called = 0;
          HTMLImageElement.prototype.decode = async function () {
            const late = called++ < views ? 300 : 0;
            await decode.call(this);
            await new Promise((done) => setTimeout(done, late));
          };
          for (const address of addresses) {
            const bytes = Uint8Array.from(atob(address), (letter) => letter.charCodeAt(0));
            model.set("picture", new DataView(bytes.buffer));
          }
        }""",
        [base64.b64encode(picture).decode() for picture in (RED, BLUE)],
    )
    page.wait_for_timeout(600)  # the one that is decoded last is not the last that was put
    assert all(paper(page, nth)[140, 140, 2] > 250 for nth in (0, 1))
    page.evaluate("model.set('picture', new DataView(new ArrayBuffer(0)))")
    expect(page.get_by_role("img", name="Blank paper")).to_have_count(2)
    page.evaluate("model.set('picture', new DataView(new ArrayBuffer(3)))")  # Python may read what browsers cannot
    expect(page.get_by_role("img", name="Paper with a picture")).to_have_count(2)
    assert (paper(page, 0) == 255).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(show, scheme):
    page = show(viewport={"width": 390, "height": 700}, color_scheme=scheme)
    canvas = page.locator(".pad")
    draw(canvas, (0.3, 0.25), (0.7, 0.25), (0.45, 0.8))
    ink = pixels(saved(page, 1)[0])
    assert ink.shape == (280, 280, 3) and ink[70, 140].tolist() == [0] * 3
    page.evaluate("model.set('said', 'A 7, for sure. ' + 'and on '.repeat(12) + 'o'.repeat(90))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = canvas.bounding_box()
    assert box["width"] == pytest.approx(box["height"]) and box["width"] > 300
    for button in page.get_by_role("button").all():
        assert min(button.bounding_box()["width"], button.bounding_box()["height"]) >= 40


def test_a_network_comes_along_and_each_picture_has_its_digit(show, test_digits):
    model = ml.load(ml.home() / "models" / "reader.safetensors")
    page = show(Explorer(model, digits=test_digits[:2]), viewport={"width": 1000, "height": 800})

    def digit() -> np.ndarray:
        return np.array(page.evaluate("[...new Uint8Array(saved.at(-1).digit)]"), np.uint8)

    expect(page.locator(".verdict")).to_have_text("Nothing to read yet.")
    page.get_by_role("button", name="Take this").nth(1).click()
    (picture,) = saved(page, 1)
    image = test_digits.images[1]
    np.testing.assert_array_equal(pixels(picture)[:, :, 0], image[0])
    np.testing.assert_array_equal(digit(), image.flatten())
    expected = int(model.predict(test_digits[1:2]).table["prediction"][0])
    expect(page.locator(".verdict b")).to_have_text(str(expected))
    draw(page.locator(".pad"), (0.5, 0.2), (0.5, 0.8))  # who begins to draw is done with the digit that was picked
    drawn = pixels(saved(page, 2)[1])
    assert (drawn[:, :100] == 255).all()
    expect(page.locator(".verdict b")).to_have_text("1")
    assert np.abs(digit().astype(float) - ml.to_mnist(saved(page, 2)[1]).flatten().numpy()).mean() < 2
    # One that Python puts is no news to it, but its digit is.
    page.evaluate(
        """text => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          model.set("picture", new DataView(bytes.buffer));
        }""",
        base64.b64encode(picture).decode(),
    )
    page.wait_for_function(
        "given => new Uint8Array(model.get('digit')).join() === given.join()", arg=image.flatten().tolist()
    )
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("saved.at(-1).picture.byteLength === 0")
    assert len(digit()) == 0


# In JupyterLab

SOURCE = """import numpy as np
import mnistlab as ml
from mnistlab.live.explorer.widget import Explorer

def answer(picture):
    dark = np.asarray(drawn.image) < 128
    return f"{dark.any(2).sum()} of {dark[:, :, 0].size} are dark, {(drawn.in_form > 127).sum()} of {drawn.in_form.numel()} light"

drawn = Explorer(ml.CNN(), answer, ml.load_digits("test")[:2])
drawn"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A JupyterLab server that knows no settings but its own; the address where it opens a notebook."""
    pytest.importorskip("jupyterlab")
    cells = [nbformat.v4.new_code_cell(source) for source in (SOURCE, "print(drawn.image and drawn.image.size)")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "pad.ipynb")
    settings = tmp_path / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"checkForUpdates": False, "doNotDisturbMode": True, "fetchNews": "false"}))
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(tmp_path / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    own |= {"IPYTHONDIR": str(tmp_path / "ipython")}
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", "--LabApp.extension_manager=readonly"]
    log = tmp_path / "server.log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=os.environ | own, cwd=tmp_path, stdout=file, stderr=file)
    try:
        for _ in range(600):
            about = [path.read_text() for path in (tmp_path / "runtime").glob("jpserver-*.json")]
            if about and about[0].endswith("}"):
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        about = json.loads(about[0])
        yield f"{about['url']}lab/tree/pad.ipynb?token={about['token']}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def test_in_jupyterlab_python_answers_each_stroke(lab, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(lab)
    cells = page.locator(".jp-CodeCell")
    first, printed = cells.nth(0), cells.nth(1).locator(".jp-OutputArea-output")

    def run(nth: int) -> None:
        cells.nth(nth).locator(".cm-content").click()
        page.keyboard.press("Control+Enter")

    # A cell that is run before its kernel is there gets none.
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)
    run(0)
    expect(first.locator(".pad")).to_be_visible(timeout=60_000)
    expect(first.locator(".mnistlab-explorer")).to_be_hidden(timeout=10_000)  # one pad is enough
    draw(first.locator(".pad"), (0.2, 0.5), (0.8, 0.5))
    expect(first.locator(".said")).to_have_text(re.compile(r"\d+ of 78400 are dark, \d+ of 784 light"), timeout=20_000)
    width, length = 20, 0.6 * 280
    dark, light = (int(number) for number in re.findall(r"(\d+) of", first.locator(".said").inner_text()))
    assert dark == pytest.approx(np.pi * width**2 / 4 + width * length, rel=0.05) and light > 20
    expect(first.locator(".verdict")).to_have_text(re.compile("^\\d.*% sure"))
    page.keyboard.press("d")
    page.keyboard.press("d")  # would delete the cell
    run(1)
    expect(printed).to_have_text("(280, 280)")
    expect(cells).to_have_count(2)
    first.get_by_role("button", name="Clear").click()
    expect(first.locator(".said")).to_have_text(HINT)
    run(1)
    expect(printed).to_have_text("None")
    page.close()


def test_executed_and_exported_by_nbconvert_it_is_alive_without_a_network(tmp_path, browser):
    """As `jupyter nbconvert --execute --to html` does it, and as a page that is opened offline."""
    source = (
        "from mnistlab.live.explorer.widget import Explorer\nimport mnistlab as ml\nExplorer(ml.Run(ml.CNN().eval()))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    html, _ = HTMLExporter().from_notebook_node(notebook)
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    pad = page.locator(".pad")
    expect(pad).to_be_visible(timeout=30_000)
    draw(pad, (0.5, 0.2), (0.5, 0.8))
    expect(page.locator(".verdict")).to_have_text(re.compile("sure"))
    context.close()
