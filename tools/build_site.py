"""Render every notebook, as it is committed, to site/: pages that need no kernel, no server and no network.

    python tools/build_site.py

Each page is one file: figures and styles are inside it, formulas are MathML. Links between notebooks become
links between pages, and films that they link to are copied beside them.
"""

import re
from pathlib import Path

import latex2mathml.converter
import nbformat
from jinja2 import Template
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

import mnistlab as ml
from mnistlab.paths import written_whole

TEMPLATE = Path(__file__).parent / "template"


class Renderer(IPythonRenderer):
    """nbconvert's own, but with formulas as MathML, which browsers show without a script."""

    def block_math(self, body: str) -> str:
        return latex2mathml.converter.convert(body.strip(), display="block")

    def inline_math(self, body: str) -> str:
        return latex2mathml.converter.convert(body.strip())


class Exporter(HTMLExporter):
    """A notebook as one page after tools/template."""

    def markdown2html(self, context: dict, source: str) -> str:
        return MarkdownWithMath(renderer=Renderer(escape=False, anchor_link_text="¶")).render(source)

    # jinja2 finds out from this attribute that the filter wants the context
    markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg


def style() -> str:
    """The style sheet, with the colours of the code for light and for dark."""
    light = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    plain = ".highlight { background: none !important; }"
    code = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n{plain}"
    return f"{(TEMPLATE / 'style.css').read_text()}\n{code}"


def page_of(path: Path, notebook: nbformat.NotebookNode) -> dict:
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    number, question = (part.strip() for part in title.split("·", 1))
    named = (
        o.metadata["image/png"]
        for c in notebook.cells
        for o in c.get("outputs", [])
        if "name" in o.get("metadata", {}).get("image/png", {})
    )
    cover = next(({"name": m["name"], "alt": m["alt"]} for m in named), None)
    return {"file": f"{path.stem}.html", "number": number, "title": question, "cover": cover}


def copy_in(site: Path, name: str) -> None:
    with written_whole(site / name) as part:
        part.write_bytes((ml.home() / name).read_bytes())


def main() -> None:
    site = ml.home() / "site"
    exporter = Exporter(template_name="mnistlab", extra_template_basedirs=[str(TEMPLATE)])
    notebooks = {
        path: nbformat.read(path, as_version=4) for path in sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb"))
    }
    pages = {path: page_of(path, notebook) for path, notebook in notebooks.items()}
    for path, notebook in notebooks.items():
        resources = {"page": pages[path] | {"all": list(pages.values()), "style": style()}}
        html, _ = exporter.from_notebook_node(notebook, resources=resources)
        html = re.sub(r'href="([^":]+)\.ipynb(#[^"]*)?"', r'href="\1.html\2"', html)
        for film in set(re.findall(r'href="\.\./(animations/[^"]+)"', html)):
            html = html.replace(f'href="../{film}"', f'href="{film}"')
            copy_in(site, film)
        with written_whole(site / pages[path]["file"]) as part:
            part.write_text(html, encoding="utf-8")
    for page in (page for page in pages.values() if page["cover"]):
        copy_in(site, f"visualizations/{page['cover']['name']}.png")
    with written_whole(site / "index.html") as part:
        contents = Template((TEMPLATE / "contents.html.j2").read_text(encoding="utf-8"))
        part.write_text(contents.render(pages=pages.values(), style=style()), encoding="utf-8")
    print(f"{len(pages) + 1} pages; open {(site / 'index.html').relative_to(ml.home())}")


if __name__ == "__main__":
    main()
