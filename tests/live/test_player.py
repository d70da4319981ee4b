"""The film player: what it writes, and how it behaves in a real browser."""

import base64
import io
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import html5lib
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageSequence
from playwright.sync_api import Browser, Locator, Page, expect

import mnistlab as ml
from mnistlab import films
from mnistlab.live.player import html
from tests.pages import watched

EVIL = "</script><img src=x onerror=alert(1)> & \"quotes\" 'too'"
SCENES = [(0, "The start"), (9, EVIL), (20, "The end")]
DELAYS = [60, 10, 40, 250]  # browsers make 100 of the 10
SIZE = (96, 64)


def webp(holes: float = 0, **options) -> bytes:
    """30 frames: each changes one rectangle, sometimes one pixel, and every tenth all colours; some see through."""
    rng = np.random.default_rng(0)
    indices = rng.integers(0, 60, SIZE[::-1], dtype=np.uint8)
    frames = []
    for k in range(30):
        width, height = (1, 1) if k % 5 == 4 else rng.integers(2, 40, 2)
        x, y = rng.integers(0, SIZE[0] - width + 1), rng.integers(0, SIZE[1] - height + 1)
        indices[y : y + height, x : x + width] += rng.integers(1, 3 if k % 3 else 60, (height, width), dtype=np.uint8)
        indices %= 60
        palette = np.random.default_rng(k // 10).integers(0, 256, (60, 4), dtype=np.uint8)
        palette[:, 3] = 255 * (np.arange(60) >= 60 * holes)
        frames.append(Image.fromarray(palette[indices]))
    file = io.BytesIO()
    delays = [DELAYS[k % len(DELAYS)] for k in range(len(frames))]
    options = {"save_all": True, "append_images": frames[1:], "duration": delays, "lossless": True} | options
    frames[0].save(file, "WebP", **options)
    return file.getvalue()


def places(film: bytes) -> list[int]:
    """Where each frame's chunk begins in a WebP."""
    return [found.start() for found in re.finditer(b"ANMF", film)]


def patched(film: bytes, changes: dict[int, int]) -> bytes:
    """`film` with other bytes at some places."""
    changed = bytearray(film)
    for at, byte in changes.items():
        changed[at] = byte
    return bytes(changed)


def with_every_flag(film: bytes) -> bytes:
    """`film`, whose frames now in turn do and do not blend and leave their pixels to the next."""
    return patched(film, {at + 23: k * 7 // 3 % 4 for k, at in enumerate(places(film))})


FILMS = {
    "opaque": webp(),
    "smallest": webp(minimize_size=True),
    "transparent": webp(holes=0.3),
    "every flag": with_every_flag(webp(holes=0.3)),
}
FILM = FILMS["opaque"]


def frames_of(film: bytes) -> list[np.ndarray]:
    """Each frame of a WebP as Pillow decodes it: (height, width, 4); what is transparent is all zeros."""
    decoded = [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(film)))]
    return [frame * (frame[:, :, 3:] > 0) for frame in decoded]


def delays_of(film: bytes) -> list[int]:
    """How long each frame of a WebP is to stay, in milliseconds."""
    return [frame.load() and frame.info["duration"] for frame in ImageSequence.Iterator(Image.open(io.BytesIO(film)))]


def starts_of(film: bytes) -> list[int]:
    """When each frame begins in a browser, in milliseconds, and after the last the film's length."""
    return [0, *accumulate(100 if delay <= 10 else delay for delay in delays_of(film))]


# What it writes


def test_the_film_is_in_it_once_and_unchanged():
    text = html(FILM, "A film", SCENES)
    found = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]*)", text)
    assert len(found) == 1 and base64.b64decode(found[0]) == FILM
    assert "http" not in text and "url(" not in text


def test_html_is_well_formed_and_nothing_escapes():
    page = f"<!DOCTYPE html><html lang=en><head><title>Film</title></head><body>{html(FILM, EVIL, SCENES)}</body>"
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(page)
    assert not parser.errors
    (picture,) = tree.iter("img")
    assert picture.get("alt") == EVIL
    assert len(list(tree.iter("script"))) == len(list(tree.iter("style"))) == 1


def test_films_hold_what_they_are_to_test():
    for film in FILMS.values():
        at = places(film)
        assert len(at) == len(frames_of(film)) == 30 and {film[k + 24 : k + 28] for k in at} == {b"VP8L"}
        assert len({film[k + 8 : k + 20] for k in at}) > 15  # rectangles
        assert delays_of(film) == [DELAYS[k % len(DELAYS)] for k in range(30)]
    flags = {name: {film[k + 23] for k in places(film)} for name, film in FILMS.items()}
    assert flags["every flag"] == {0, 1, 2, 3} and all({0, 2} <= some for some in flags.values())
    for name in ("transparent", "every flag"):
        assert {*np.unique(np.stack(frames_of(FILMS[name]))[..., 3])} == {0, 255}


# How it behaves


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page with a body; at the end nothing has gone wrong in it, and it has asked for nothing."""
    path = tmp_path / "page.html"
    pages = ExitStack()

    def show(*body: str, clock: bool = False, motion: str = "reduce", **options) -> Page:
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Film</title>'
        path.write_text(f'<!DOCTYPE html><html lang="en">{head}<body>{"".join(body)}', encoding="utf-8")
        page = pages.enter_context(watched(browser, path.as_uri(), reduced_motion=motion, **options))
        if clock:
            page.clock.install(time=0)
        page.goto(path.as_uri())
        return page

    with pages:
        yield show


def pictures(stage: Locator, frames: Sequence[int]) -> list[np.ndarray]:
    """What the canvas shows after seeking each of `frames` in turn."""
    seek = """async (stage, frames) => {
      const [bar, canvas] = [stage.querySelector("input"), stage.querySelector("canvas")];
      const shown = [];
      for (const frame of frames) {
        bar.value = frame;
        bar.dispatchEvent(new Event("input"));
        for (const start = Date.now(); canvas.dataset.frame !== String(frame); ) {
          if (Date.now() - start > 20000) throw new Error(`frame ${frame} never came`);
          await new Promise(done => setTimeout(done));
        }
        shown.push(canvas.toDataURL());
      }
      return shown;
    }"""
    shown = (base64.b64decode(address.split(",")[1]) for address in stage.evaluate(seek, list(frames)))
    return [np.array(Image.open(io.BytesIO(png)).convert("RGBA")) for png in shown]


@pytest.mark.parametrize("film", FILMS.values(), ids=FILMS)
def test_every_frame_is_the_one_that_pillow_decodes(show, film):
    stage = show(html(film, "A film", SCENES)).locator(".stage")
    sought = [0, 29, *range(30), *random.Random(0).choices(range(30), k=30)]
    decoded = frames_of(film)
    for frame, picture in zip(sought, pictures(stage, sought), strict=True):
        np.testing.assert_array_equal(picture, decoded[frame], err_msg=f"frame {frame}")


def test_a_film_of_ours(show, test_digits):
    model = ml.load(ml.home() / "models" / "cnn.safetensors").model
    film = films.forward(ml.trace(model, test_digits.images[0]), show_progress=False)
    stage = show(film._repr_html_()).locator(".stage")
    last = len(film.frames) - 1
    sought = [0, 1, last, last - 1, *random.Random(0).choices(range(last), k=16)]
    for frame, picture in zip(sought, pictures(stage, sought), strict=True):
        np.testing.assert_array_equal(picture[:, :, :3], np.asarray(film.still(frame)), err_msg=f"frame {frame}")
        assert (picture[:, :, 3] == 255).all()


def test_in_a_hurry_only_the_last_frame_is_shown(show):
    hurry = """async (stage, frames) => {
      const [bar, canvas] = [stage.querySelector("input"), stage.querySelector("canvas")];
      const shown = [];
      const observer = new MutationObserver(() => shown.push(canvas.dataset.frame));
      observer.observe(canvas, { attributeFilter: ["data-frame"] });
      for (const frame of frames) {
        bar.value = frame;
        bar.dispatchEvent(new Event("input"));
      }
      const readout = stage.querySelector(".readout").textContent;
      for (const start = Date.now(); !shown.includes(String(frames.at(-1))) && Date.now() - start < 20000; ) {
        await new Promise(done => setTimeout(done));
      }
      observer.disconnect();
      return [readout, shown];
    }"""
    stage = show(html(FILM, "A film", SCENES)).locator(".stage")
    for frames, readout in (([5, 12, 29, 3], "0.2 s"), ([28, 4, 20], "2.3 s"), ([1, 29, 17], "1.9 s")):
        said, shown = stage.evaluate(hurry, frames)
        assert shown == [str(frames[-1])]
        assert said.startswith(f"{readout} of 3.3 s")
        np.testing.assert_array_equal(pictures(stage, frames[-1:])[0], frames_of(FILM)[frames[-1]])


def test_less_motion_starts_paused(show):
    page = show(html(FILM, EVIL, SCENES))
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(page.get_by_role("img")).to_have_accessible_name(EVIL)
    assert page.locator("img").count() == 0  # the WebP itself would move
    expect(page.locator(".readout")).to_have_text("0.0 s of 3.3 s · The start")


def test_plays_at_the_films_own_pace_and_loops(show):
    page = show(html(FILM, "A film", SCENES), clock=True)
    bar, starts = page.get_by_role("slider"), starts_of(FILM)
    expect(bar).to_be_visible()
    page.clock.pause_at(10_000)
    page.locator("canvas").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()

    def run_for(step: int) -> None:
        """The clock stands still while the browser decodes, which takes none of the film's time."""
        for _ in range(step // 20):
            page.clock.run_for(20)
            expect(page.locator("canvas")).to_have_attribute("data-frame", bar.input_value())

    for _ in range(250):  # until the browser has told the player that it is in view
        run_for(20)
        if bar.input_value() != "0":
            break
    now = starts[1]
    for step in (300, 900, 2600):
        run_for(step)
        now += step
        due = sum(start <= now % starts[-1] for start in starts) - 1
        # A frame changes with the screen, up to 16 ms late each time that the film comes by its end or a slow frame.
        assert int(bar.input_value()) in {(due + late) % 30 for late in (-1, 0, 1)}, step


def test_plays_only_in_view(show):
    page = show(html(FILM, "A film", SCENES), "<div style='height: 3000px'></div>", motion="no-preference")
    bar = page.get_by_role("slider")
    page.wait_for_function("bar => bar.value > 1", arg=bar.element_handle())
    page.evaluate("scrollTo(0, 2000)")
    rests = """bar => new Promise(done => { const at = bar.value; setTimeout(() => done(bar.value === at), 400); })"""
    assert any(bar.evaluate(rests) for _ in range(10))
    rested = bar.input_value()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_function("([bar, at]) => bar.value !== at", arg=[bar.element_handle(), rested])


def test_every_control_by_mouse(show):
    page = show(html(FILM, "A film", SCENES))
    bar, said, readout = page.get_by_role("slider"), page.locator(".said"), page.locator(".readout")

    def press(name: str, frame: int) -> None:
        page.get_by_role("button", name=name, exact=True).click()
        expect(bar).to_have_value(str(frame))

    press("One frame forward", 1)
    press("One frame back", 0)
    press("One frame back", 29)
    press("One frame forward", 0)
    press("Next scene", 9)
    expect(said).to_have_text(EVIL)
    expect(readout).to_contain_text(EVIL)
    press("Next scene", 20)
    press("Next scene", 0)
    press("Previous scene", 20)
    press("One frame forward", 21)
    press("Previous scene", 20)
    press("Previous scene", 9)
    box = bar.bounding_box()
    bar.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert 13 <= int(bar.input_value()) <= 16
    here = int(bar.input_value())
    for control in (page.get_by_role("button", name="Play"), page.locator("canvas")):
        control.click()
        page.wait_for_function("([bar, at]) => bar.value > at", arg=[bar.element_handle(), here])
        page.get_by_role("button", name="Pause").click()
        expect(said).to_contain_text("Paused. ")
        here = int(bar.input_value())


def test_every_control_by_keyboard(show):
    page = show(html(FILM, "A film", SCENES))
    bar, stage = page.get_by_role("slider"), page.locator(".stage")
    expect(stage).to_be_visible()
    page.keyboard.press("Tab")
    expect(stage).to_be_focused()
    assert stage.evaluate("stage => getComputedStyle(stage).outlineStyle") == "solid"

    def press(key: str, frame: int) -> None:
        page.keyboard.press(key)
        expect(bar).to_have_value(str(frame))

    def shared_keys() -> None:
        press("End", 29)
        press("ArrowRight", 0)
        press("ArrowLeft", 29)
        press("Home", 0)
        press("PageDown", 9)
        press("Shift+ArrowRight", 20)
        press("PageUp", 9)
        press("Shift+ArrowLeft", 0)

    def space() -> None:
        page.keyboard.press("Space")
        page.wait_for_function("bar => bar.value > 0", arg=bar.element_handle())
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="Play")).to_be_visible()

    shared_keys()
    space()
    page.keyboard.press("Tab")
    expect(bar).to_be_focused()
    shared_keys()
    press("ArrowUp", 1)
    press("ArrowDown", 0)
    space()
    page.keyboard.press("Home")
    for frame, name in [(20, "Previous scene"), (19, "One frame back")]:
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
        press("Enter", frame)
    page.keyboard.press("Tab")
    space()  # once: the button's own click, and not ours as well
    page.keyboard.press("Home")
    for frame, name in [(1, "One frame forward"), (9, "Next scene")]:
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
        press("Space", frame)


def test_two_players_leave_each_other_and_the_page_alone(show):
    empty = show()
    page = show(html(FILM, "One", SCENES), html(FILMS["transparent"], "Two", []))
    expect(page.locator(".stage")).to_have_count(2)
    names = "() => Object.getOwnPropertyNames(window).sort()"
    assert page.evaluate(names) == empty.evaluate(names)
    one, two = page.locator(".stage").all()
    (shown,) = pictures(one, [7])
    np.testing.assert_array_equal(shown, frames_of(FILM)[7])
    two.get_by_role("button", name="One frame back").click()
    expect(one.get_by_role("slider")).to_have_value("7")
    expect(two.get_by_role("slider")).to_have_value("29")
    two.get_by_role("button", name="Next scene").click()  # it has none, so the whole film is one
    expect(two.get_by_role("slider")).to_have_value("0")


@pytest.mark.parametrize("place", ["script.replaceWith(copy)", "document.head.append(copy)"])
def test_works_where_a_notebook_inserts_it(show, place):
    """JupyterLab sets innerHTML, which runs no script, and then puts a copy in each script's place."""
    page = show('<div id="output"></div>')
    insert = f"""html => {{
      const output = document.getElementById("output");
      output.innerHTML = html;
      for (const script of output.querySelectorAll("script")) {{
        const copy = document.createElement("script");
        copy.textContent = script.textContent;
        {place};
      }}
    }}"""
    page.evaluate(insert, html(FILM, "One", SCENES) + html(FILM, "Two", SCENES))
    expect(page.locator(".stage")).to_have_count(2)
    assert page.locator("canvas").count() == 2 and page.locator("img").count() == 0
    for stage in page.locator(".stage").all():
        stage.get_by_role("button", name="Next scene").click()
        expect(stage.get_by_role("slider")).to_have_value("9")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(show, scheme):
    wide = io.BytesIO()
    black, white = (Image.new("RGB", (960, 540), colour) for colour in ("black", "white"))
    black.save(wide, "WebP", lossless=True, save_all=True, append_images=[white])
    body = html(wide.getvalue(), "A film", [(0, "A title that goes on and on, " * 5)])
    page = show(body, viewport={"width": 390, "height": 800}, color_scheme=scheme)
    expect(page.locator("canvas")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("canvas").bounding_box()
    assert box["width"] <= 390 and box["width"] / box["height"] == pytest.approx(960 / 540, rel=0.01)
    for button in page.get_by_role("button").all():
        assert min(button.bounding_box()["width"], button.bounding_box()["height"]) >= 40


def test_without_scripts_the_film_is_there(show):
    page = show(html(FILM, "A film", SCENES), java_script_enabled=False, motion="no-preference")
    expect(page.get_by_role("img", name="A film")).to_be_visible()
    assert page.locator("canvas, button").count() == 0


def test_what_it_does_not_understand_is_left_to_the_browser(show):
    still = io.BytesIO()
    Image.new("RGB", SIZE).save(still, "WebP", lossless=True)
    left = [
        webp(lossless=False),
        webp(holes=0.3, lossless=False),
        webp(icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        still.getvalue(),
        patched(FILM, {places(FILM)[0] + 8: 1}),  # not as far left as it was, so that it reaches over the right
        patched(FILM, {places(FILM)[-1] + 24: 0}),  # not VP8L
        FILM[: len(FILM) // 2],
        b"not a film",
    ]
    page = show(*(html(film, "A film", SCENES) for film in left))
    expect(page.locator("[data-taken]")).to_have_count(len(left))
    assert page.locator("img").count() == len(left) and page.locator("canvas").count() == 0
    for at in range(4):
        expect(page.locator("img").nth(at)).to_be_visible()  # a second later, because show asks for less motion
        assert page.locator("img").nth(at).evaluate("img => img.naturalWidth") == SIZE[0]


def test_a_film_that_breaks_off_becomes_a_picture_again(show):
    broken = patched(FILM, {places(FILM)[-1] + 32: 0})  # a VP8L's first byte says that it is one
    page = show(html(broken, "A film", SCENES), motion="no-preference")
    page.get_by_role("slider").press("End")
    expect(page.locator("img")).to_be_visible()
    assert page.locator(".stage").count() == 0
