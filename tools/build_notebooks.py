"""Execute the notebooks in place and leave them as a reader should find them.

    python -m tools.build_notebooks [notebooks/04_training.ipynb …]      default: all of them

Each notebook is run whole, in its own folder, on MNIST; its outputs are cleaned of timestamps; figures shown
with `plots.present` are also written to visualizations/; a stamp in the metadata says which code made the
outputs. A notebook that fails, or that writes to stderr, is left as it was.
"""

import base64
import sys
from hashlib import md5
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import mnistlab as ml
from mnistlab.paths import written_whole


def stamp(notebook: nbformat.NotebookNode) -> dict:
    """What the outputs depend on: the code cells and the library's version."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return {"code": md5(code.encode()).hexdigest(), "version": ml.__version__}


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook at `path`, run from a fresh kernel and cleaned."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=1200,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name in ("tags", "mnistlab")}
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name} writes to stderr, which readers would see:\n{output.text}")
            output.pop("transient", None)
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # dead without its kernel
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "mnistlab": stamp(notebook),
    }
    return notebook


def figures(notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """The named figures among the outputs, as PNG."""
    shown = (output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output)
    return {
        output.metadata["image/png"]["name"]: base64.b64decode(output.data["image/png"])
        for output in shown
        if "name" in output.metadata.get("image/png", {})
    }


def main(paths: list[Path]) -> None:
    if not ml.load_digits("train").is_mnist:
        raise SystemExit("The notebooks' outputs are made on MNIST. Connect once and run 'make data'.")
    for path in paths:
        notebook = execute(path)
        for name, png in figures(notebook).items():
            with written_whole(ml.home() / "visualizations" / f"{name}.png") as part:
                part.write_bytes(png)
        with written_whole(path) as part:
            nbformat.write(notebook, part)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main([Path(p) for p in sys.argv[1:]] or sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb")))
