"""The pages that `make html` writes: whole, valid, usable by everybody, and in need of nothing outside their folder."""

import io
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import html5lib
import nbformat
import numpy as np
import pytest
import torch
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import mnistlab as ml
from mnistlab.live.player import html as player
from tools import build_site

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb"))
# Things in an output that bring a script of ours along.
ALIVE = {"mnistlab-player", "mnistlab-explorer"}


def built(home: Path) -> Path:
    """The site of the notebooks in `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_HOME", str(home))
        build_site.main()
    return home / "site"


def built_of(home: Path, *cells: nbformat.NotebookNode) -> Path:
    """The page of one notebook with these cells."""
    title = nbformat.v4.new_markdown_cell("# 01 · What is this?")
    (home / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[title, *cells]), home / "notebooks" / "01_this.ipynb")
    return built(home) / "01_this.html"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built into a folder of its own."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("notebooks", "visualizations", "animations"):
        (folder / name).symlink_to(ml.home() / name)
    return built(folder)


class Parsed(NamedTuple):
    text: str
    tree: Element
    errors: list[str]


@cache
def pages(site: Path) -> dict[str, Parsed]:
    found = {}
    for path in sorted(site.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        parser = html5lib.HTMLParser(namespaceHTMLElements=False)
        tree = parser.parse(text)
        errors = [f"{error[1]}: {text.splitlines()[error[0][0] - 1][:120]}" for error in parser.errors]
        found[path.name] = Parsed(text, tree, errors)
    return found


def of_class(tree: Element, *names: str) -> list[Element]:
    return [node for node in tree.iter() if set(names) & set(node.get("class", "").split())]


def in_outputs_alive(tree: Element, tag: str) -> list[Element]:
    return [node for alive in of_class(tree, *ALIVE) for node in alive.iter(tag)]


def check_links(site: Path) -> None:
    for name, (text, tree, _) in pages(site).items():
        identifiers = [node.get("id") for node in tree.iter() if node.get("id")]
        assert len(identifiers) == len(set(identifiers)), name
        ours, *others = tree.iter("script")
        assert ours.text.strip() == (build_site.TEMPLATE / "page.js").read_text(encoding="utf-8").strip()
        assert others == in_outputs_alive(tree, "script") and not list(tree.iter("link")), name
        assert not any("src" in script.attrib for script in tree.iter("script")), name
        assert "@import" not in text and "url(" not in text
        for node in tree.iter():
            for attribute in ("src", "srcset", "href"):
                target = node.get(attribute)
                if target is None or target.startswith("data:image/"):
                    continue
                if target.startswith("#"):
                    assert target[1:] in identifiers, (name, target)
                elif attribute == "href" and target.startswith("https://"):
                    continue  # a link to follow, nothing that the page needs
                else:
                    assert (site / target).is_file(), (name, target)


def test_every_notebook_has_a_page(site):
    assert set(pages(site)) == {"index.html"} | {f"{path.stem}.html" for path in NOTEBOOKS}


def test_html_is_well_formed(site):
    for name, page in pages(site).items():
        assert not page.errors, name


def test_nothing_is_fetched_and_no_link_is_broken(site):
    check_links(site)


def test_the_first_page_tells_the_story(site):
    tree = pages(site)["index.html"].tree
    cards = list(of_class(tree, "cards")[0])
    assert len(cards) == len(NOTEBOOKS) and len(of_class(tree, "promises")[0]) == 4
    for card, path in zip(cards, NOTEBOOKS, strict=True):
        assert card.find("h3/a").get("href") == f"{path.stem}.html"
        assert len(card.find("p").text) > 40 and len(card.find("img").get("alt")) >= 40


def test_each_page_leads_on_and_says_what_is_on_it(site):
    names = [f"{path.stem}.html" for path in NOTEBOOKS]
    for at, name in enumerate(names):
        tree = pages(site)[name].tree
        ways = {link.get("rel"): link.get("href") for link in tree.iter("a") if link.get("rel")}
        assert ways.get("prev") == (names[at - 1] if at else None)
        assert ways.get("next") == (names[at + 1] if at + 1 < len(names) else None)
        sections = [f"#{node.get('id')}" for node in tree.iter("h2")]
        for contents in of_class(tree, "contents"):
            assert [link.get("href") for link in contents.iter("a")] == sections


def test_every_figure_is_there_with_its_text(site):
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        shown = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        tree = pages(site)[f"{path.stem}.html"].tree
        alive = in_outputs_alive(tree, "img")
        pictures = [p for p in tree.iter("img") if p not in alive]
        assert [p.get("alt") for p in pictures] == [o.metadata["image/png"]["alt"] for o in shown]
        for picture, output in zip(pictures, shown, strict=True):
            assert picture.get("src") == "data:image/png;base64," + output.data["image/png"]


def test_formulas_are_mathml(site):
    formulas = 0
    for path in NOTEBOOKS:
        text = pages(site)[f"{path.stem}.html"].text
        formulas += text.count("<math")
        prose = re.sub(r"<(pre|style|script|math)\b.*?</\1>", "", text, flags=re.S)
        assert "$" not in re.sub(r"data:image/png;base64,[^\"]*", "", prose), path.name
    assert formulas >= 3


def test_code_can_be_folded_and_solutions_are(site):
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        tree = pages(site)[f"{path.stem}.html"].tree
        folds = [fold for fold in tree.iter("details") if list(fold.iter("pre"))]
        open_ones = [fold for fold in folds if fold.get("open") is not None]
        tags = [c.metadata.get("tags", []) for c in notebook.cells if c.cell_type == "code"]
        code = [one for one in tags if not {"exercise", "check"} & set(one)]
        assert len(open_ones) == len(code) and all(fold.get("class") == "code" for fold in open_ones)
        closed = [fold.findtext("summary") for fold in folds if fold not in open_ones]
        assert closed.count("Solution") == 3
        checks = [summary for summary in closed if re.fullmatch(r"Checked: (1 claim|\d+ claims)", summary)]
        assert len(checks) == sum("check" in one for one in tags) == len(closed) - 3


def test_a_films_player_comes_through(tmp_path, browser):
    file = io.BytesIO()
    first, second = (Image.new("RGB", (96, 64), colour) for colour in ("navy", "gold"))
    first.save(file, "WebP", lossless=True, save_all=True, append_images=[second], duration=100)
    html = player(file.getvalue(), "Two colours", [(0, "The only scene")])
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "0" * 32}, "text/html": html}
    output = nbformat.v4.new_output("display_data", data)
    path = built_of(tmp_path, nbformat.v4.new_code_cell("film", outputs=[output]))
    written, exported = (
        [(node.tag, node.attrib, node.text) for node in html5lib.parse(text, namespaceHTMLElements=False).iter()]
        for text in (html, path.read_text(encoding="utf-8"))
    )
    assert len(written) == 7 and all(node in exported for node in written[3:])  # the first three are html, head, body
    test_html_is_well_formed(path.parent)
    check_links(path.parent)
    page = browser.new_page()
    page.goto(path.as_uri())
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    page.close()


# ── Predict first ──


def guesses(path: Path) -> list[dict | None]:
    """What stands for each question of a notebook, in its cell or in the next cell of prose."""
    prose = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    said = [build_site.said_of(cell).get("guess") for cell in prose] + [None]
    return [
        said[at] if said[at] is not None else said[at + 1]
        for at, cell in enumerate(prose)
        if "**Predict first.**" in cell.source
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_question_has_its_form(site, path):
    asked = guesses(path)
    assert asked and None not in asked
    for guess in asked:
        assert set(guess) <= {"question", "choices", "right"}
        if "choices" in guess:
            assert 2 <= len(guess["choices"]) <= 4 and len(set(guess["choices"])) == len(guess["choices"])
            assert guess["right"] in range(len(guess["choices"]))
    forms = of_class(pages(site)[f"{path.stem}.html"].tree, "guess")
    assert len(forms) == len(asked) == len({form.get("data-name") for form in forms})


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(offline=True) as context:
        yield context


def opened(context: BrowserContext, site: Path, at: int) -> Page:
    page = context.new_page()
    page.set_default_timeout(5000)
    page.goto((site / f"{NOTEBOOKS[at].stem}.html").as_uri())
    return page


def questions(page: Page) -> tuple[Locator, Locator]:
    """The first form of a page, and what waits for it."""
    form = page.locator("form.guess").first
    return form, form.locator("xpath=following-sibling::*[1]")


def guess(form: Locator, rightly: bool) -> None:
    right = int(form.get_attribute("data-right"))
    form.get_by_role("radio").nth(right if rightly else 1 - min(right, 1)).check()
    form.get_by_role("button", name="Commit").click()


def test_a_guess_brings_the_answer_and_counts_on_every_page(site, context):
    page = opened(context, site, 0)
    form, held = questions(page)
    expect(held).to_be_hidden()
    form.get_by_role("button", name="Commit").click()
    expect(held).to_be_hidden()  # nothing was chosen
    guess(form, rightly=True)
    expect(held).to_be_visible()
    expect(form.locator(".verdict")).to_have_text("Right: 1 of 1 so far.")

    page = opened(context, site, 1)
    form, held = questions(page)
    expect(held).to_be_hidden()
    guess(form, rightly=False)
    expect(held).to_be_visible()
    expect(form.locator(".verdict")).to_have_text("Not this time: 1 of 2 so far.")
    expect(form.locator(".answer")).to_have_count(1)
    expect(page.locator(".score")).to_have_text("Guessed right: 1 of 2")

    page = opened(context, site, 0)
    form, held = questions(page)
    expect(held).to_be_visible()
    expect(page.locator(".score")).to_have_text("Guessed right: 1 of 2")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Start over").click()
    expect(held).to_be_hidden()
    expect(page.locator(".score")).to_be_empty()


def test_whoever_only_looks_is_not_counted(site, context):
    page = opened(context, site, 0)
    form, held = questions(page)
    form.get_by_role("button", name="Just show me").click()
    expect(held).to_be_visible()
    expect(form.locator(".verdict")).to_have_text("Not counted.")
    expect(page.locator(".score")).to_be_empty()
    page.get_by_role("button", name="Show all answers").click()
    assert all(one.is_visible() for one in page.locator(".held").all())
    expect(page.locator(".score")).to_be_empty()


def test_a_guess_in_words_is_judged_by_the_reader(site, context):
    at = next(n for n, path in enumerate(NOTEBOOKS) if any("choices" not in guess for guess in guesses(path)))
    page = opened(context, site, at)
    form = page.locator("form.guess:has([type=text])").first
    for before in page.locator("form.guess").all():
        if before.locator("[type=text]").count():
            break
        before.get_by_role("button", name="Just show me").click()
    form.get_by_role("textbox").fill("by <b>colour</b>")
    form.get_by_role("textbox").press("Enter")
    expect(page.locator(".judge")).to_contain_text("You guessed: “by <b>colour</b>”")
    expect(page.locator(".score")).to_be_empty()
    page.reload()
    page.locator(".judge").get_by_role("button", name="I had it").click()
    expect(form.locator(".verdict")).to_have_text("Right: 1 of 1 so far.")
    expect(page.locator(".judge")).to_be_focused()
    page.reload()
    expect(form.locator(".verdict")).to_have_text("Right: 1 of 1 so far.")
    expect(page.locator(".judge")).to_have_count(0)


def test_a_guess_needs_no_mouse(site, context):
    page = opened(context, site, 0)
    form, held = questions(page)
    for _ in range(40):
        page.keyboard.press("Tab")
        if form.get_by_role("radio").first.evaluate("one => one === document.activeElement"):
            break
    for _ in range(int(form.get_attribute("data-right"))):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    expect(form.get_by_role("button", name="Commit")).to_be_focused()
    page.keyboard.press("Enter")
    expect(held).to_be_visible()
    expect(form.locator(".verdict")).to_be_focused()
    expect(form.locator(".verdict")).to_have_text("Right: 1 of 1 so far.")


def test_a_guess_needs_no_storage(site, context):
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('none') } })")
    page = opened(context, site, 0)
    form, held = questions(page)
    guess(form, rightly=True)
    expect(held).to_be_visible()
    expect(page.locator(".score")).to_have_text("Guessed right: 1 of 1")


def test_folded_code_stays_folded(site, context):
    page = opened(context, site, 0)
    page.get_by_role("button", name="Hide code").click()
    assert not page.locator("details.code[open]").count()
    page = opened(context, site, 1)
    assert not page.locator("details.code[open]").count() and page.locator("details.code").count()
    page.get_by_role("button", name="Show code").click()
    assert not page.locator("details.code:not(.check):not([open])").count()


@pytest.mark.parametrize("where", ["without scripts", "in print"])
def test_nothing_waits(site, browser, where):
    with browser.new_context(java_script_enabled=where == "in print") as context:
        page = opened(context, site, 0)
        page.emulate_media(media="print" if where == "in print" else "screen")
        assert page.locator(".held").count() and page.locator("form.guess").count()
        assert not any(form.is_visible() for form in page.locator("form.guess, .tools").all())
        assert all(
            one.is_visible()
            for one in page.locator(".held, .cell:not(:has(.check)), .cell :not(.check) > .highlight, main img").all()
        )


def test_an_error_never_waits(tmp_path, context):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])
    asks = nbformat.v4.new_markdown_cell(
        "## 1\n\n**Predict first.** Will it run?\n\nLook.", metadata={"mnistlab": {"guess": {}}}
    )
    path = built_of(tmp_path, asks, nbformat.v4.new_code_cell("fail()", outputs=[error]))
    page = context.new_page()
    page.goto(path.as_uri())
    expect(page.locator("form.guess")).to_be_visible()
    expect(page.get_by_text("ValueError: no")).to_be_visible()


# ── All pages, in a browser ──


def axe() -> str | None:
    """axe-core's script, which checks pages for accessibility, or None where it is not."""
    path = Path(os.environ.get("MNISTLAB_AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
    if "MNISTLAB_AXE" in os.environ or path.exists():
        return path.read_text(encoding="utf-8")
    return None


# Of each colour of code one word is enough, and takes half the time.
GRAVE = """async () => {
  const seen = new Set();
  for (const word of document.querySelectorAll(".highlight span[class]")) {
    if (seen.has(word.className)) word.replaceWith(word.textContent);
    seen.add(word.className);
  }
  return (await axe.run(document, { resultTypes: ["violations"] })).violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_work_without_a_network_and_for_everybody(site, browser, width, scheme):
    script = axe()
    failed, said, grave, asked = [], [], [], set()
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with browser.new_context(offline=True, **options) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.add(request.url))
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for name in pages(site):
            page.goto((site / name).as_uri())
            if page.locator("form.guess").count():
                guess(page.locator("form.guess").first, rightly=True)
                if script:
                    page.get_by_role("button", name="Show all answers").click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            if script:
                page.evaluate(script)
                grave += [f"{name}: {one}" for one in page.evaluate(GRAVE)]
    checked = f"{len(grave)} serious axe violations" if script else "axe-core is not here"
    print(f"{len(pages(site))} pages, {width} px, {scheme}:", end=" ")
    print(f"{len(failed)} failed requests, {len(said)} console messages, {checked}")
    assert not failed and not said and not grave
    # What a page made itself, a blob, comes from nowhere.
    others = {url for url in asked if not url.startswith("blob:")}
    ours = {url.removeprefix(f"{site.as_uri()}/") for url in others} - set(pages(site))
    assert not [url for url in ours if not re.fullmatch(r"visualizations/\w+\.png|animations/\w+\.gif", url)]
    if not script:
        pytest.skip("accessibility was not checked: npm install --no-save axe-core")


# ── The explorer, in a page that was exported ──


@pytest.fixture(scope="module")
def exported(site, tmp_path_factory) -> dict[str, Path]:
    """Notebook 07 as our page, and as nbconvert's own template has it, which every "export" in JupyterLab uses."""
    notebook = next(path for path in NOTEBOOKS if path.stem.startswith("07"))
    default = tmp_path_factory.mktemp("default") / "07.html"
    default.write_text(HTMLExporter().from_filename(str(notebook))[0], encoding="utf-8")
    return {"ours": site / f"{notebook.stem}.html", "nbconvert's": default}


@pytest.mark.parametrize("whose", ["ours", "nbconvert's"])
def test_an_exported_page_reads_a_drawn_3_as_python_does(context, exported, whose):
    page = context.new_page()
    page.goto(exported[whose].as_uri(), wait_until="domcontentloaded")
    if whose == "ours":
        page.get_by_role("button", name="Show all answers").click()
    page.wait_for_function("document.querySelector('.mnistlab-explorer').explorer?.read()?.outputs")
    pad, mouse = page.locator(".mnistlab-explorer canvas.pad"), page.mouse
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    bows = [(at, row, size) for row, size in ((0.33, 0.15), (0.65, 0.17)) for at in np.linspace(-1.9, 1.7, 9)]
    places = [(0.5 + size * np.cos(at), row + size * np.sin(at)) for at, row, size in bows]
    for number, (x, y) in enumerate(places):
        mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if number == 0:
            mouse.down()
    mouse.up()
    expect(page.locator(".verdict b")).to_have_text("3")
    page.wait_for_timeout(500)  # until the last of it was thought about
    digit, shares = page.evaluate(
        """() => {
          const host = document.querySelector(".mnistlab-explorer");
          const bars = [...host.shadowRoot.querySelectorAll(".bars b")];
          return [[...host.explorer.read().digit], bars.map((bar) => parseFloat(bar.textContent) / 100)];
        }"""
    )
    drawn = ml.Digits(torch.tensor(digit, dtype=torch.uint8).view(1, 1, 28, 28), None, "drawn")
    expected = ml.load(ml.home() / "models" / "cnn.safetensors").predict(drawn).probabilities[0]
    np.testing.assert_allclose(shares, expected, atol=1e-2)
