"""The pages that `make html` writes: whole, valid, and in need of nothing outside their folder."""

import re
from pathlib import Path

import build_site
import html5lib
import nbformat
import pytest

import mnistlab as ml

NOTEBOOKS = sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built into a folder of its own."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("notebooks", "visualizations"):
        (folder / name).symlink_to(ml.home() / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTLAB_HOME", str(folder))
        build_site.main()
    return folder / "site"


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
        assert not list(tree.iter("script")) and not list(tree.iter("link")), name
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


def test_every_figure_is_there_with_its_text(site):
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        shown = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        tree = html5lib.parse((site / f"{path.stem}.html").read_text(encoding="utf-8"), namespaceHTMLElements=False)
        pictures = list(tree.iter("img"))
        assert [p.get("alt") for p in pictures] == [o.metadata["image/png"]["alt"] for o in shown]
        for picture, output in zip(pictures, shown, strict=True):
            assert picture.get("src") == "data:image/png;base64," + output.data["image/png"]


def test_formulas_are_mathml(site):
    formulas = 0
    for path in NOTEBOOKS:
        text = (site / f"{path.stem}.html").read_text(encoding="utf-8")
        formulas += text.count("<math")
        prose = re.sub(r"<(pre|style|math)\b.*?</\1>", "", text, flags=re.S)
        assert "$" not in re.sub(r"data:image/png;base64,[^\"]*", "", prose), path.name
    assert formulas >= 3


def test_solutions_are_folded_and_code_is_coloured(site):
    for path in NOTEBOOKS:
        tree = html5lib.parse((site / f"{path.stem}.html").read_text(encoding="utf-8"), namespaceHTMLElements=False)
        folded = list(tree.iter("details"))
        assert len(folded) == 3
        assert all(details.get("open") is None and list(details.iter("pre")) for details in folded)
