"""A trained network as a file that others can run: a PyTorch program, ONNX, ONNX in int8, a page for a browser.

The first three take raw digits, so that nobody has to know how they are normalised:
  images         (N, 1, 28, 28) uint8, 0 for paper to 255 for ink, in MNIST's form; any N from 1 on
  logits         (N, C) float32, one for each class
  probabilities  (N, C) float32: softmax of the logits ÷ the run's temperature
The names of the classes are in the file: of ONNX in its metadata, of a program in the extra file classes.json.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import mnistlab
from mnistlab.data.digits import Digits, normalise
from mnistlab.data.sources import load_digits
from mnistlab.live import explorer
from mnistlab.networks.hooks import evaluating
from mnistlab.networks.inference import lay_out
from mnistlab.networks.layers import folded, in_a_row
from mnistlab.paths import written_whole
from mnistlab.runs import Run

if TYPE_CHECKING:
    import onnx

CALIBRATION = 500  # digits
BATCH = 1000
OUTPUTS = ("logits", "probabilities")


class ExportError(ValueError):
    """A network cannot be exported, or an exported file not be run; the message names the remedy."""


class Agreement(NamedTuple):
    """An exported file beside PyTorch, on `count` digits.

    answers: how many are read as another digit.  logits: the largest difference of a logit, in either direction.
    """

    count: int  # type: ignore[assignment]  # as in Evaluation
    answers: int
    logits: float


def write(run: Run, path: str | Path) -> Path:
    """The run's network in the form that the name asks for: *.pt2, *.int8.onnx, other *.onnx, or *.html.

    Returns `path`, which is written whole or left as it was. Raises ExportError for another ending, for a folder that
    cannot be written to, or where a package is missing; ExplorerError where the page cannot show the network.
    """
    path = Path(path)
    form = next((form for ending, form in FORMS.items() if path.name.lower().endswith(ending)), None)
    if form is None:
        raise ExportError(f"{path.name} ends as none of the forms: name it *{', *'.join(FORMS)}.")
    return form(run, path)


def to_program(run: Run, path: str | Path) -> Path:
    """For PyTorch without mnistlab, by torch.export: `torch.export.load(path).module()(images)`."""
    program = torch.export.export(_Reader(run), (EXAMPLE,), dynamic_shapes=_dynamic())
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop("stack_trace", None)  # it names folders of this machine
    content = io.BytesIO()
    with warnings.catch_warnings():  # weights in channels_last order are whole, though PyTorch wonders
        warnings.filterwarnings("ignore", message="No complete tensor found")
        torch.export.save(program, content, extra_files={"classes.json": json.dumps(run.classes)})
    return _written(path, content.getvalue())


def to_onnx(run: Run, path: str | Path) -> Path:
    """For onnxruntime and others, in float32: one file, with nothing beside it."""
    _need("onnx", "onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch 2.11's, on a call of its own
        program = torch.onnx.export(
            _Reader(run), (EXAMPLE,), dynamo=True, dynamic_shapes=_dynamic(), output_names=OUTPUTS, verbose=False
        )
    assert program is not None  # with dynamo=True there is one
    return _written(path, _labelled(program.model_proto, run).SerializeToString())


def to_int8(run: Run, path: str | Path, digits: Digits | None = None) -> Path:
    """For onnxruntime, in a quarter of the bytes: weights and activations of 8 bits, logits still float32.

    digits: a few hundred that the network was trained on, which show how large each activation becomes; by default
      the first 500 training digits. They change what the file answers, so take none that it is then judged by.
    """
    _need("onnx", "onnxscript", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    digits = load_digits("train")[:CALIBRATION] if digits is None else digits
    if not len(digits):
        raise ExportError("There is no digit to calibrate on; give a few hundred training digits.")
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, small = (f"{folder}/{name}.onnx" for name in ("whole", "prepared", "small"))
        quant_pre_process(to_onnx(run, whole), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            small,
            _Batches(digits),
            op_types_to_quantize=["Conv", "Relu", "MaxPool", "Reshape", "Gemm"],  # no softmax in steps of 1/256
            per_channel=True,
            reduce_range=True,  # weights of 7 bits: sums of two products fit 16 bits on processors without VNNI
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},  # so that logits stay fine
        )
        model = _labelled(onnx.load(small), run, calibration=repr(digits))
    return _written(path, model.SerializeToString())


def to_page(run: Run, path: str | Path) -> Path:
    """For a browser, without Python or a connection: the explorer, its weights half floats."""
    with _writing(path):
        return explorer.write(run, path)


FORMS = {".pt2": to_program, ".int8.onnx": to_int8, ".onnx": to_onnx, ".html": to_page}


def load(path: str | Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What a *.pt2 or *.onnx file computes: (N, 1, 28, 28) uint8 → logits and probabilities, (N, C) each.

    It runs on the CPU, in as many threads as PyTorch takes. ExportError where the file is not there or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"There is no file {path}; write(run, path) makes one.")
    try:
        return _program(path) if path.suffix == ".pt2" else _session(path)
    except ExportError:
        raise
    except Exception as error:  # each runtime has its own
        raise ExportError(f"{path} is damaged, or no network in this form. Export it again.") from error


def check(path: str | Path, run: Run, digits: Digits) -> Agreement:
    """The file's answers beside those of the run's own network, as it is, on the same digits."""
    exported = load(path)
    answers, apart = 0, 0.0
    with evaluating(run.model), torch.inference_mode():
        for images in digits.images.cpu().split(BATCH):
            ours, theirs = run.model(normalise(images)), exported(images)[0]
            answers += int((ours.argmax(1) != theirs.argmax(1)).sum())
            apart = max(apart, float((ours - theirs).abs().max()))
    return Agreement(len(digits), answers, apart)


EXAMPLE = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)  # two, since a size of 1 would be taken for a constant


def _dynamic() -> dict[str, Any]:
    """Any number of images. (It is made when it's needed, because the first Dim imports sympy.)"""
    return {"images": {0: torch.export.Dim("batch")}}


class _Reader(nn.Module):
    """From pixels to probabilities: what is exported."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.network = folded(run.model) if in_a_row(run.model) else deepcopy(run.model).eval()
        self.layout = lay_out(self.network)  # channels_last is 1.4 times as fast in PyTorch, and the same in ONNX
        self.temperature = run.temperature
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(normalise(images).contiguous(memory_format=self.layout))
        return logits, (logits / self.temperature).softmax(1)


class _Batches:
    """Digits as onnxruntime's calibration asks for them: `get_next` until None."""

    def __init__(self, digits: Digits) -> None:
        self.batches = iter(digits.images.cpu().split(50))

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}


def _labelled(model: "onnx.ModelProto", run: Run, **more: str) -> "onnx.ModelProto":
    """With our name and the run's on it, and without the exporter's notes, which name folders of this machine."""
    import onnx

    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
    model.producer_name, model.producer_version = "mnistlab", mnistlab.__version__
    about = {"network": type(run.model).__name__, "temperature": str(run.temperature), "version": mnistlab.__version__}
    about["classes"] = json.dumps(run.classes)
    onnx.helper.set_model_props(model, about | more)
    return model


def _program(path: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    module = torch.export.load(path).module()

    @torch.inference_mode()
    def read(images: Tensor) -> tuple[Tensor, Tensor]:
        logits, probabilities = module(images)
        return logits, probabilities

    return read


def _session(path: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    _need("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def read(images: Tensor) -> tuple[Tensor, Tensor]:
        logits, probabilities = session.run(OUTPUTS, {"images": images.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(probabilities)

    return read


def _need(*packages: str) -> None:
    if missing := [package for package in packages if find_spec(package) is None]:
        raise ExportError(f"This needs {' and '.join(missing)}: pip install onnx onnxscript onnxruntime")


def _written(path: str | Path, content: bytes) -> Path:
    with _writing(path), written_whole(path) as part:
        part.write_bytes(content)
    return Path(path)


@contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{path} cannot be written ({reason}). Name a file in a folder of yours.") from error
