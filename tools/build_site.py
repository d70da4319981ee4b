"""Render every notebook, as it is committed, to site/: pages that need no kernel, no server and no network.

    python -m tools.build_site

Each page is one file: figures, styles and the script are inside it, formulas are MathML. Links between notebooks
become links between pages, and films that they link to are copied beside them. Where a notebook asks the reader to
predict first, the page has a form, after what the cell's metadata says; all up to the next section waits for it:

    {"mnistlab": {"guess": {"question": "Which is it?", "choices": ["this", "that"], "right": 1}}}
    {"mnistlab": {"guess": {}}}     a guess in words, which readers judge for themselves

The first cell's metadata holds what the cover says of a notebook: {"mnistlab": {"card": {"sentence": …, "cover": …}}}.
"""

import ast
import re
from pathlib import Path

import latex2mathml.converter
import nbformat
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

import mnistlab as ml
from mnistlab.paths import written_whole

TEMPLATE = Path(__file__).parent / "template"
TEMPLATES = Environment(loader=FileSystemLoader(TEMPLATE), keep_trailing_newline=True)
SECTION, HELD = "<!--section-->", "<!--held-->"  # where a section begins, and what waits for a guess
# The film on the first page, and what stands there instead for whoever asked for less motion, and in print.
FRONT = {"film": "animations/forward_confident.gif", "still": "visualizations/07_votes.png"}
# What a page can show without a kernel comes first; a widget is none of it.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


class Renderer(IPythonRenderer):
    """nbconvert's own, but with formulas as MathML, which browsers show without a script, and with shorter ids."""

    def block_math(self, body: str) -> str:
        formula = latex2mathml.converter.convert(body.strip(), display="block")
        return formula.replace("<math ", '<math tabindex="0" ', 1)  # so that keys can scroll one wider than a phone

    def inline_math(self, body: str) -> str:
        return latex2mathml.converter.convert(body.strip())

    def heading(self, text: str, level: int, **attrs: dict) -> str:
        words = re.findall(r"\w+", re.sub(r"<[^>]+>|&\w+;", " ", text).lower())
        return f'{SECTION if level == 2 else ""}<h{level} id="{"-".join(words)}">{text}</h{level}>\n'


class Exporter(HTMLExporter):
    """A notebook's cells after tools/template/mnistlab."""

    def markdown2html(self, context: dict, source: str) -> str:
        html = MarkdownWithMath(renderer=Renderer(escape=False)).render(source)
        cell = context["cell"]
        guess = said_of(cell).get("guess")
        if guess is None:
            return html
        name = f"{context['resources']['stem']}/{cell.id}"
        form = TEMPLATES.get_template("guess.html.j2").render(guess=guess, name=name)
        # Behind the paragraph that asks; a cell without one, behind what is needed to answer, has it at its end.
        asks = re.search(r"Predict first\..*?</p>", html, re.DOTALL)
        end = asks.end() if asks else len(html)
        return f"{html[:end]}\n{form}{HELD}{html[end:]}"

    # jinja2 finds out from this attribute that the filter wants the context
    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg


def checked(source: str) -> str:
    """The line under which a check cell is folded."""
    count = sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(source)))
    return f"Checked: {count} {'claim' if count == 1 else 'claims'}"


def said_of(cell: nbformat.NotebookNode) -> dict:
    """What a cell's metadata says for the site."""
    return cell.metadata.get("mnistlab", {})


def with_answers_held(html: str) -> str:
    """Each mark as a block that reaches to the end of its section: a second question waits for the first."""
    sections = html.split(SECTION)
    return "".join(s.replace(HELD, '<div class="held">') + "</div>\n" * s.count(HELD) for s in sections)


def style() -> str:
    """The style sheet, with the colours of the code for light and for dark."""
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("xcode", "github-dark"))
    # Pygments paints a paper of its own, which would hide ours.
    code = f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"
    code = re.sub(r"^\.highlight \{[^}]*\}|^pre \{[^}]*\}", "", code, flags=re.MULTILINE)
    return f"{(TEMPLATE / 'style.css').read_text(encoding='utf-8')}\n{code}\n"


def page_of(path: Path, notebook: nbformat.NotebookNode) -> dict:
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    number, question = (part.strip() for part in title.split("·", 1))
    card = said_of(notebook.cells[0]).get("card", {})
    pictures = [
        o.metadata["image/png"]
        for c in notebook.cells
        for o in c.get("outputs", [])
        if "image/png" in o.get("metadata", {})
    ]
    kept = [p for p in pictures if "name" in p]  # the others came from elsewhere than tools.build_notebooks
    covers = [p for p in kept if p["name"] == card.get("cover")] or kept
    return {
        "file": f"{path.stem}.html",
        "number": number,
        "title": question,
        "sentence": card.get("sentence"),
        "cover": next(iter(covers), None),
    }


def copy_in(site: Path, name: str) -> None:
    with written_whole(site / name) as part:
        part.write_bytes((ml.home() / name).read_bytes())


def write(path: Path, template: str, **values: object) -> None:
    script = (TEMPLATE / "page.js").read_text(encoding="utf-8")
    with written_whole(path) as part:
        html = TEMPLATES.get_template(template).render(style=style(), script=script, **values)
        part.write_text(html, encoding="utf-8")


def main() -> None:
    site = ml.home() / "site"
    exporter = Exporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_name="mnistlab",
        filters={"checked": checked},
        extra_template_basedirs=[str(TEMPLATE)],
    )
    notebooks = {
        path: nbformat.read(path, as_version=4) for path in sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb"))
    }
    pages = [page_of(path, notebook) for path, notebook in notebooks.items()]
    for at, (path, notebook) in enumerate(notebooks.items()):
        html, _ = exporter.from_notebook_node(notebook, resources={"stem": path.stem})
        html = with_answers_held(html)
        html = re.sub(r'href="([^":]+)\.ipynb(#[^"]*)?"', r'href="\1.html\2"', html)
        for film in set(re.findall(r'href="\.\./(animations/[^"]+)"', html)):
            html = html.replace(f'href="../{film}"', f'href="{film}"')
            copy_in(site, film)
        neighbours = [(pages[at - 1], "prev", "Previous")] if at else []
        neighbours += [(pages[at + 1], "next", "Next")] if at + 1 < len(pages) else []
        sections = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', html)
        values = {"page": pages[at], "pages": pages, "neighbours": neighbours, "sections": sections}
        write(site / pages[at]["file"], "page.html.j2", body=html, **values)
    for page in (page for page in pages if page["cover"]):
        copy_in(site, f"visualizations/{page['cover']['name']}.png")
    front = {name: path for name, path in FRONT.items() if (ml.home() / path).is_file()}
    for name in front.values():
        copy_in(site, name)
    write(site / "index.html", "contents.html.j2", pages=pages, **front)
    print(f"{len(pages) + 1} pages; open {(site / 'index.html').relative_to(ml.home())}")


if __name__ == "__main__":
    main()
