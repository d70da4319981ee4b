"""Execute the notebooks in place and leave them as a reader should find them.

    python -m tools.build_notebooks [notebooks/04_training.ipynb …]      default: all of them

Each notebook is run whole, in its own folder, on MNIST. Its outputs are cleaned of timestamps. Each figure that a cell
shows in its last line is also written to visualizations/, named after the notebook and the function that the line
calls (or the variable that it shows). Cells tagged `check` are folded. A stamp in the metadata says what the outputs
depend on: the code, the library's version and the checkpoints that the code names. A notebook that fails, or that
writes to stderr, is left as it was.
"""

import ast
import base64
import re
import sys
from hashlib import md5
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import mnistlab as ml
from mnistlab.paths import written_whole

READER = "Predictor.load()"  # reads models/reader.safetensors without naming it


def stamp(notebook: nbformat.NotebookNode) -> dict:
    """What the outputs depend on: the code cells, the library's version, and the checkpoints that the code reads."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    models = sorted((ml.home() / "models").glob("*.safetensors"))
    read = [path for path in models if path.name in code or (path.stem == "reader" and READER in code)]
    return {
        "code": md5(code.encode()).hexdigest(),
        "version": ml.__version__,
        "checkpoints": {path.name: md5(path.read_bytes()).hexdigest() for path in read},
    }


def maker(source: str) -> str | None:
    """What a cell's figure is named after: the function that its last line calls, or the variable that it shows.

    "confusion" for `plots.confusion(predictions)`, "untrained" for `untrained`.
    """
    last = ast.parse(source).body[-1:]
    shown = last[0].value if last and isinstance(last[0], ast.Expr) else None
    if isinstance(shown, ast.Call):
        return shown.func.attr if isinstance(shown.func, ast.Attribute) else getattr(shown.func, "id", None)
    return shown.id if isinstance(shown, ast.Name) else None


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
        if "check" in cell.metadata.get("tags", []):
            cell.metadata["jupyter"] = {"source_hidden": True}
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise SystemExit(f"{path.name} writes to stderr, which readers would see:\n{output.text}")
            output.pop("transient", None)
            if "application/vnd.jupyter.widget-view+json" in (data := output.get("data", {})):
                data.clear()  # dead without its kernel, for which there is the page beside it
            if "text/html" in data:
                data["text/html"] = re.sub(r' data-beside="\w+"', "", data["text/html"])
            if picture := output.get("metadata", {}).get("image/png"):
                picture["name"] = f"{path.stem[:2]}_{maker(cell.source)}"
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("data", True)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "mnistlab": stamp(notebook),
    }
    names = [name for name, _ in figures(notebook)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SystemExit(f"{path.name} shows two figures by one name: {', '.join(twice)}. Give each its own function.")
    return notebook


def figures(notebook: nbformat.NotebookNode) -> list[tuple[str, bytes]]:
    """The figures among the outputs: name and PNG."""
    shown = (output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output)
    return [
        (output.metadata["image/png"]["name"], base64.b64decode(output.data["image/png"]))
        for output in shown
        if "name" in output.metadata.get("image/png", {})
    ]


def main(paths: list[Path]) -> None:
    if not ml.load_digits("train").is_mnist:
        raise SystemExit("The notebooks' outputs are made on MNIST. Connect once and run 'make data'.")
    folder = ml.home() / "visualizations"
    for path in paths:
        notebook = execute(path)
        kept = {f"{name}.png": png for name, png in figures(notebook)}
        for old in folder.glob(f"{path.stem[:2]}_*.png"):
            if old.name not in kept:
                old.unlink()
        for name, png in kept.items():
            with written_whole(folder / name) as part:
                part.write_bytes(png)
        with written_whole(path) as part:
            nbformat.write(notebook, part)
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main([Path(p) for p in sys.argv[1:]] or sorted((ml.home() / "notebooks").glob("[0-9]*.ipynb")))
