"""The page that reads digits: over HTTP, and in a browser, each answer compared with Predictor's own."""

import asyncio
import base64
import io
import os
import re
import runpy
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mnistlab as ml
from mnistlab.data.digits import normalise

pytest.importorskip("gradio")
import httpx
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, Page, expect

from mnistlab.__main__ import main
from mnistlab.figures import colours
from mnistlab.live import app
from mnistlab.reading import picture
from tests.pages import watched
from tests.trust.visitors import call, crowd, file_at, other_address, served, upload

pytestmark = pytest.mark.slow

SAMPLES = ml.home() / "data" / "samples"
NINE, TWO = SAMPLES / "photo_ruled_9_2.jpg", SAMPLES / "canvas_28_2_1.bmp"
ROW, BLANK = SAMPLES / "rows" / "row_407.jpg", SAMPLES / "others" / "blank_scan_clean.png"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='28' height='28'><script>alert(1)</script></svg>"
HTML = b"<!DOCTYPE html><script>alert(1)</script>"
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def predictor() -> ml.Predictor:
    return ml.Predictor.load()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page in a process of its own; it ends well when it is told to, and leaves no upload behind."""
    with served(tmp_path_factory.mktemp("served")) as page:
        yield page.address
        assert list(page.uploads.rglob("*.*"))
    assert not list(page.uploads.rglob("*.*"))
    assert "mnistlab" not in page.log.read_text()  # gradio logs what it refuses; of ours, nothing failed


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, verbose=False, analytics_enabled=False)


def expected_of(predictor: ml.Predictor, picture: Path) -> dict:
    said = predictor.predict(picture)
    return {
        "digit": said.digit,
        "confidence": pytest.approx(said.confidence, abs=1e-5),
        "margin": pytest.approx(said.margin, abs=1e-5),
        "probabilities": pytest.approx(said.probabilities.tolist(), abs=1e-5),
        "warning": said.warning,
    }


# Over HTTP


@pytest.mark.parametrize("picture", [NINE, TWO, ROW, BLANK], ids=lambda picture: picture.stem)
def test_a_client_hears_what_predictor_says(client, predictor, picture):
    assert client.predict(picture=handle_file(picture), api_name="/predict") == expected_of(predictor, picture)


def test_plain_http_will_do(server, predictor):
    event, data = call(server, "predict", file_at(upload(server, NINE, "my nine.jpg")))
    assert (event, data) == ("complete", [expected_of(predictor, NINE)]) and data[0]["digit"] == 9


def test_many_files_come_back_by_their_own_names(client, predictor, tmp_path):
    broken = tmp_path / "drawing.svg"
    broken.write_bytes(SVG)
    files = [NINE, broken, BLANK, ROW, NINE]
    rows = client.predict(files=[handle_file(file) for file in files], api_name="/predict_many")
    assert [row["file"] for row in rows] == [file.name for file in files]
    for row, file in zip(rows, files, strict=True):
        if file in (NINE, ROW):
            assert row == {"file": file.name, "error": ""} | expected_of(predictor, file)
        else:
            assert {row[name] for name in ("digit", "confidence", "margin", "probabilities")} == {None}
    assert rows[1]["error"].startswith("drawing.svg is no picture that can be read (") and rows[1]["warning"] == ""
    assert rows[2]["warning"] == predictor.predict(BLANK).warning and rows[2]["error"] == ""


def test_there_are_two_endpoints_and_no_others(client):
    said = client.view_api(return_format="dict", print_info=False)
    assert list(said["named_endpoints"]) == ["/predict", "/predict_many"] and not said["unnamed_endpoints"]
    names = [[part["parameter_name"] for part in one["parameters"]] for one in said["named_endpoints"].values()]
    assert names == [["picture"], ["files"]]


@pytest.mark.parametrize(("name", "content"), {"a.svg": SVG, "a.html": HTML, "a.png": HTML, "empty.png": b""}.items())
def test_what_is_no_picture_is_refused_in_our_words(server, name, content):
    path = upload(server, content, name)
    event, said = call(server, "predict", file_at(path))
    assert event == "error" and re.fullmatch(rf"{name} is no picture that can be read \(.*\)\. .*", said["error"])
    assert os.sep not in said["error"] and "Traceback" not in str(said)
    served = httpx.get(f"{server}/gradio_api/file={path}")
    assert "attachment" in served.headers["content-disposition"] or served.headers["content-type"] == "image/png"


@pytest.mark.parametrize("endpoint", ["predict", "predict_many"])
def test_only_what_was_uploaded_is_read(server, endpoint):
    inside = Path(upload(server, NINE))
    around = inside.parent / ".." / ".." / os.path.relpath(NINE, inside.parents[2])
    assert around.samefile(NINE)
    for path in (NINE, around, "/etc/passwd", "picture.png", NINE.as_uri(), f"{server}/gradio_api/file={inside}"):
        for given in (file_at(path), {"path": str(path)}, file_at(path) | {"is_stream": True}, str(path), [str(path)]):
            event, said = call(server, endpoint, given if endpoint == "predict" else [given])
            assert event == "error" and "no picture" not in str(said) and "root:" not in str(said), given
    for path in (NINE, around, "/etc/passwd"):
        assert httpx.get(f"{server}/gradio_api/file={path}").status_code in (403, 404)


def test_limits(server):
    large = httpx.post(f"{server}/gradio_api/upload", files={"files": ("a.png", bytes(20 * 2**20 + 1))}, timeout=60)
    assert large.status_code == 413
    upload(server, bytes(20 * 2**20))
    event, said = call(server, "predict_many", [file_at(upload(server, TWO))] * 501)
    assert (event, said["error"]) == ("error", "501 files are more than 500. Send them in parts.")
    for endpoint in ("predict", "predict_many"):
        event, said = call(server, endpoint, None)
        assert event == "error" and said["error"]


def test_two_hundred_at_once_are_all_answered(server):
    with ThreadPoolExecutor(1) as apart:  # from playwright's loop
        times, faults = apart.submit(crowd, server, [TWO.read_bytes()], 200, 0.5).result()
    assert len(times) >= 200 and faults == []


def test_only_this_machine_hears_it(server):
    host = other_address()
    if host is None:
        pytest.skip("no other address than the loopback's")
    port = int(server.rsplit(":", 1)[1])
    socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((host, port), 5).close()


def test_says_what_it_lacks(server, predictor, monkeypatch):
    port = int(server.rsplit(":", 1)[1])
    with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port} cannot be had.*Give another port"):
        app.launch(predictor, port=port)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"The page needs gradio\. Get it with: pip install gradio"):
        runpy.run_path(app.__file__)


def test_a_picture_is_prepared_once_an_answer(predictor, monkeypatch):
    pixels, calls = picture._pixels, []
    monkeypatch.setattr(picture, "_pixels", lambda given: (calls.append(1), pixels(given))[1])
    verdict, steps, maps = app._shown(predictor, NINE.read_bytes())
    assert len(calls) == 1 and str(predictor.predict(NINE)) in verdict and steps and maps


# In a browser


@pytest.fixture
def open_page(browser: Browser, server: str) -> Iterator[Callable[..., Page]]:
    """Opens the page; at the end nothing has gone wrong in it, and it has asked nobody but the server."""
    own = (f"{server}/", f"blob:{server}/", "data:")
    chatter = ("log", "info", "debug", "warning")  # gradio's own
    pages = ExitStack()

    def open_page(**options) -> Page:
        page = pages.enter_context(watched(browser, *own, ignore=chatter, **options))
        page.goto(server)
        expect(page.locator(".pad")).to_be_visible(timeout=30_000)
        return page

    with pages:
        yield open_page


def choose(page: Page, picture: Path | dict) -> None:
    page.on("filechooser", lambda chooser: chooser.set_files(picture))
    page.get_by_role("button", name="Picture…").click()


def draw(page: Page, *points: tuple[float, float]) -> None:
    """A stroke with the mouse through `points`, in shares of the pad."""
    box = page.locator(".pad").bounding_box()
    (left, top), *others = ((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points)
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()


# Whether the picture that was read is dark at each of these places, in shares of it.
DARK = """async (places) => {
  const image = document.querySelector(".ml .steps img");
  await image.decode();
  const paper = Object.assign(document.createElement("canvas"), { width: image.naturalWidth, height: image.naturalHeight });
  const pen = paper.getContext("2d");
  pen.drawImage(image, 0, 0);
  return places.every(([x, y]) => pen.getImageData(x * paper.width, y * paper.height, 1, 1).data[0] < 128);
}"""


def pictures(page: Page, part: str) -> list[np.ndarray]:
    addresses = page.locator(f"{part} img").evaluate_all("images => images.map((image) => image.src)")
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(a.split(",")[1]))).convert("RGB")) for a in addresses]


def test_a_chosen_picture_is_read_step_by_step(open_page, predictor):
    page = open_page(viewport={"width": 1280, "height": 900})
    expect(page.get_by_text("Nothing to read yet.")).to_be_visible()
    choose(page, NINE)
    said, prepared = predictor.predict(NINE), ml.prepare(NINE)
    expect(page.locator("p.verdict")).to_have_text(f"9 ({said.confidence:.1%} sure)")
    assert page.locator(".bars > b").all_inner_texts() == [*"0123456789"]
    painted = page.locator(".bars i").first.evaluate("bar => getComputedStyle(bar).backgroundColor")
    assert painted == "rgb({}, {}, {})".format(*colours.rgb(colours.BLUE))
    shares = [f"{chance:.1%}" for chance in said.probabilities.tolist()]
    assert page.locator(".bars > span:not(.track)").all_inner_texts() == shares
    widths, track = (
        page.locator(which).evaluate_all("parts => parts.map((part) => part.getBoundingClientRect().width)")
        for which in (".bars i", ".bars .track")
    )
    assert np.divide(widths, track) == pytest.approx(said.probabilities.numpy(), abs=0.002)

    assert page.locator(".ml .steps figcaption").all_inner_texts() == list(prepared.steps)
    picture, *_, last = pictures(page, ".ml .steps")
    np.testing.assert_array_equal(picture, prepared.steps["picture"])
    np.testing.assert_array_equal(last[..., 0], 255 - said.image[0].numpy())

    captions = page.locator(".maps figcaption").all_inner_texts()
    assert [caption.split(",")[0].split(": ")[1] for caption in captions] == [
        "32 maps of 28×28", "32 maps of 28×28", "64 maps of 14×14", "64 maps of 14×14", "128 maps of 7×7"
    ]  # fmt: skip
    with torch.no_grad():
        maps = predictor.features[0](normalise(said.image[None]))[0].clamp(min=0)
    tiles = pictures(page, ".maps")[0].astype(float)
    for number, values in enumerate(maps / maps.max()):
        top, left = divmod(number, 16)
        tile = tiles[29 * top :, 29 * left :][:28, :28]
        np.testing.assert_allclose(tile[..., 2], 255 - values * (255 - colours.rgb(colours.ORANGE)[2]), atol=1.01)


def test_each_stroke_is_answered(open_page):
    page = open_page(viewport={"width": 1280, "height": 900})
    verdict = page.locator("p.verdict")
    draw(page, (0.5, 0.2), (0.5, 0.8))
    expect(verdict).to_have_text(re.compile(r"^1 \(\d+\.\d% sure\)$"))
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Nothing to read yet.")).to_be_visible()
    expect(page.locator(".steps img")).to_have_count(0)
    draw(page, (0.3, 0.2), (0.7, 0.2), (0.45, 0.8))
    expect(verdict).to_have_text(re.compile(r"^7 \("))
    page.get_by_role("tab", name="Many files").click()
    page.get_by_role("tab", name="One digit").click()
    expect(verdict).to_have_text(re.compile(r"^7 \("))
    draw(page, (0.3, 0.9), (0.7, 0.9))  # on the paper as it was left
    page.wait_for_function(DARK, arg=[[0.5, 0.9], [0.5, 0.2]])
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_warnings_are_shown_and_what_cannot_be_read_is_said(open_page, predictor):
    page = open_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    choose(page, ROW)
    expect(page.locator("p.warning")).to_have_text(predictor.predict(ROW).warning)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    blank = {"name": EVIL, "mimeType": "image/png", "buffer": BLANK.read_bytes()}
    page.locator(".drawing input").set_input_files(blank)
    expect(page.locator("p.verdict")).to_have_text("no digit")
    expect(page.locator("p.warning")).to_have_text("There is no ink to be seen on this picture.")
    expect(page.locator(".maps")).to_have_count(0)
    page.locator(".drawing input").set_input_files({"name": EVIL, "mimeType": "image/svg+xml", "buffer": SVG})
    expect(page.locator(".said")).to_have_text(f"{EVIL} is not a picture that this browser can show.")


def test_many_files_make_a_table_and_a_csv(open_page, predictor, tmp_path):
    page = open_page(viewport={"width": 1280, "height": 900})
    page.get_by_role("tab", name="Many files").click()
    given = {"three (é, 1).gif": SAMPLES / "palette_4_3.gif", EVIL: NINE, "blank.png": BLANK, "a.html": None}
    page.locator("input[data-testid=file-upload]").set_input_files(
        [
            {"name": name, "mimeType": "image/png", "buffer": HTML if picture is None else picture.read_bytes()}
            for name, picture in given.items()
        ]
    )
    rows = page.locator(".rows tr")
    expect(rows).to_have_count(5, timeout=30_000)
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download digits.csv").click()
    assert coming.value.suggested_filename == "digits.csv"
    coming.value.save_as(tmp_path / "digits.csv")
    table = pd.read_csv(tmp_path / "digits.csv")

    broken = tmp_path / "a.html"
    broken.write_bytes(HTML)
    expected = predictor.predict_all([picture or broken for picture in given.values()])
    expected.table["file"] = list(given)
    expected.table["error"] = [error.replace(str(broken), "a.html") for error in expected.table["error"]]
    assert table["error"][3].startswith("a.html is no picture")
    wanted = pd.read_csv(expected.to_csv(tmp_path / "expected.csv"))
    pd.testing.assert_frame_equal(table, wanted, atol=1e-5)

    for (_, row), shown in zip(expected.table.iterrows(), rows.all()[1:], strict=True):
        picture, name, digit, sure = shown.locator("td").all_inner_texts()
        assert picture.strip() == "" and shown.locator("img").count() == (row["error"] == "")
        assert name.split("\n")[0] == row["file"] and name.split("\n")[-1].strip() in (
            row["file"],
            row["error"] or row["warning"],
        )
        read = ("", "") if pd.isna(row["prediction"]) else (str(row["prediction"]), f"{row['confidence']:.1%}")
        assert (digit, sure) == read
    expect(page.get_by_text("4 pictures, 1 with a warning, 1 could not be read. Read as 4 × 1, 9 × 1.")).to_be_visible()
    page.get_by_label("least sure first").check()
    expect(rows.nth(1).locator("td").nth(3)).to_have_text("", timeout=30_000)
    expect(rows.nth(4).locator("td").nth(3)).to_have_text(
        f"{max(predictor.predict(NINE).confidence, predictor.predict(SAMPLES / 'palette_4_3.gif').confidence):.1%}"
    )
    assert page.locator(".rows img[src=x]").count() == 0
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_example_is_read(open_page, predictor):
    page = open_page(viewport={"width": 1280, "height": 900})
    page.get_by_label("Example 1").click()
    expect(page.locator("p.verdict")).to_have_text(str(predictor.predict(SAMPLES / app.SAMPLES[0])), timeout=30_000)


def test_what_looks_like_no_digit_is_no_headline(open_page, predictor):
    letter = SAMPLES / "others" / "letter_A.png"
    picture = (
        letter
        if letter.exists()
        else next(
            path
            for path in sorted((SAMPLES / "others").glob("*.*"))
            if path.suffix in (".png", ".jpg") and predictor.predict(path).strange
        )
    )
    said = predictor.predict(picture)
    assert said.strange and str(said).startswith("perhaps no digit; if it is one, ")
    page = open_page(viewport={"width": 1280, "height": 900})
    choose(page, picture)
    expect(page.locator("p.verdict")).to_contain_text("Perhaps no digit; if it is one, ", timeout=30_000)


def test_no_address_is_fetched(predictor):
    """gradio would fetch a public one; the page refuses it before anything goes out."""
    page = app.build(predictor)
    places = [block for block in page.blocks.values() if type(block).__name__ == "File"]
    assert len(places) == 2
    for place in places:
        for address in ("https://example.org/a.png", "HTTP://10.0.0.1/", "ftp://example.org/a.png"):
            with pytest.raises(app.gr.Error, match="fetches no addresses"):
                # in a thread of its own, because playwright's loop runs in this one
                ThreadPoolExecutor(1).submit(asyncio.run, place.async_move_resource_to_block_cache(address)).result()


def test_with_a_password_nobody_comes_in_without_it(predictor):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    page = app.launch(predictor, port=port, auth=("ann", "secret"), root_path="/proxy/7860")
    try:
        assert httpx.get(f"http://127.0.0.1:{port}/config").status_code == 401
        login = {"username": "ann", "password": "wrong"}
        assert httpx.post(f"http://127.0.0.1:{port}/login", data=login).status_code == 400
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.post("/login", data=login | {"password": "secret"}).status_code == 200
            assert "/proxy/7860" in client.get("/config").text
    finally:
        page.close(verbose=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "Open to every machine that can reach this one, without a password; --auth sets one."),
        (["--host", "0.0.0.0", "--auth", "ann:x"], "Open to every machine that can reach this one, with the password."),
        (["--share"], "Open to everybody who has the address http://there, without a password; --auth sets one."),
        ([], ""),
    ],
)
def test_who_can_come_is_said(monkeypatch, capsys, words, said):
    asked = {}

    class Served:
        local_url, share_url = "http://here", "http://there" if "--share" in words else None

    monkeypatch.setattr(app, "launch", lambda predictor, **options: asked.update(options) or Served())
    monkeypatch.setattr(app, "wait", lambda page: None)
    assert main(["app", "--open", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "http://here (Ctrl-C ends it)" and lines[-1] == (said or lines[0])
    assert asked["in_browser"] and asked["share"] == ("--share" in words)


def test_half_a_password_is_none(capsys):
    assert main(["app", "--auth", "ann"]) == 2 and "as in ann:secret" in capsys.readouterr().err
