"""The pages that `make html` writes: whole, valid, and in need of nothing outside their folder."""

import io
import re
from pathlib import Path

import build_site
import html5lib
import nbformat
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

import mnistlab as ml
from mnistlab.player import html as player

NOTEBOOKS = sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb"))


def built(home: Path) -> Path:
    """The site of the notebooks in `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_HOME", str(home))
        build_site.main()
    return home / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built into a folder of its own."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("notebooks", "visualizations", "animations"):
        (folder / name).symlink_to(ml.home() / name)
    return built(folder)


def pages(site: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}


def test_every_notebook_has_a_page(site):
    assert set(pages(site)) == {"index.html"} | {f"{path.stem}.html" for path in NOTEBOOKS}


def test_html_is_well_formed(site):
    """No error but those of markup that we do not write: pandas' tables and Pygments' code."""
    for name, text in pages(site).items():
        parser = html5lib.HTMLParser()
        parser.parse(text)
        assert not parser.errors, (
            name,
            [(error[1], text.splitlines()[error[0][0] - 1][:120]) for error in parser.errors],
        )


def test_nothing_is_fetched_and_no_link_is_broken(site):
    for name, text in pages(site).items():
        tree = html5lib.parse(text, namespaceHTMLElements=False)
        identifiers = {node.get("id") for node in tree.iter()}
        players = [node for node in tree.iter("div") if node.get("class") == "mnistlab-player"]
        scripts = [script for player in players for script in player.findall("script")]
        assert list(tree.iter("script")) == scripts and not list(tree.iter("link")), name
        assert not any(script.attrib for script in scripts), name
        assert "@import" not in text and "url(" not in text
        for node in tree.iter():
            for attribute in ("src", "href"):
                target = node.get(attribute)
                if target is None or target.startswith("data:image/"):
                    continue
                if target.startswith("#"):
                    assert target[1:] in identifiers, (name, target)
                elif attribute == "href" and target.startswith("https://"):
                    continue  # a link to follow, nothing that the page needs
                else:
                    assert (site / target).is_file(), (name, target)


def requests(site: Path, browser: Browser) -> set[str]:
    """Everything that the pages ask for when they are opened, themselves apart, as paths in the site."""
    page = browser.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    for path in site.glob("*.html"):
        page.goto(path.as_uri(), wait_until="networkidle")
    page.close()
    return {url.removeprefix(f"{site.as_uri()}/") for url in asked} - set(pages(site))


def test_pages_ask_for_nothing_but_covers(site, browser):
    assert all(re.fullmatch(r"visualizations/\w+\.png", asked) for asked in requests(site, browser))


def test_a_films_player_comes_through(tmp_path, browser):
    file = io.BytesIO()
    first, second = (Image.new("RGB", (96, 64), colour) for colour in ("navy", "gold"))
    first.save(file, "WebP", lossless=True, save_all=True, append_images=[second], duration=100)
    html = player(file.getvalue(), "Two colours", [(0, "The only scene")])
    cell = nbformat.v4.new_code_cell("film", outputs=[nbformat.v4.new_output("display_data", {"text/html": html})])
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01 · What moves?"), cell])
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "01_film.ipynb")
    site = built(tmp_path)
    written, exported = (
        [(node.tag, node.attrib, node.text) for node in html5lib.parse(text, namespaceHTMLElements=False).iter()]
        for text in (html, pages(site)["01_film.html"])
    )
    assert len(written) == 7 and all(node in exported for node in written[3:])  # the first three are html, head, body
    test_html_is_well_formed(site)
    test_nothing_is_fetched_and_no_link_is_broken(site)
    assert not requests(site, browser)
    page = browser.new_page()
    page.goto((site / "01_film.html").as_uri())
    expect(page.locator("canvas[data-frame]")).to_be_visible()
    page.close()


def test_every_figure_is_there_with_its_text(site):
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        shown = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        tree = html5lib.parse((site / f"{path.stem}.html").read_text(encoding="utf-8"), namespaceHTMLElements=False)
        pictures = [p for p in tree.iter("img") if not p.get("src").startswith("data:image/webp")]  # not players' films
        assert [p.get("alt") for p in pictures] == [o.metadata["image/png"]["alt"] for o in shown]
        for picture, output in zip(pictures, shown, strict=True):
            assert picture.get("src") == "data:image/png;base64," + output.data["image/png"]


def test_formulas_are_mathml(site):
    formulas = 0
    for path in NOTEBOOKS:
        text = (site / f"{path.stem}.html").read_text(encoding="utf-8")
        formulas += text.count("<math")
        prose = re.sub(r"<(pre|style|script|math)\b.*?</\1>", "", text, flags=re.S)
        assert "$" not in re.sub(r"data:image/png;base64,[^\"]*", "", prose), path.name
    assert formulas >= 3


def test_solutions_are_folded_and_code_is_coloured(site):
    for path in NOTEBOOKS:
        tree = html5lib.parse((site / f"{path.stem}.html").read_text(encoding="utf-8"), namespaceHTMLElements=False)
        folded = list(tree.iter("details"))
        assert len(folded) == 3
        assert all(details.get("open") is None and list(details.iter("pre")) for details in folded)
