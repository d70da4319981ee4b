"""What is exported answers as PyTorch does, alone, and says what it needs."""

import base64
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mnistlab as ml
from mnistlab.data.digits import MEAN, STD
from mnistlab.live import explorer
from mnistlab.shipping import export

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]
TEMPERATURE = 1.7  # not 1, so that leaving it out would be seen


@pytest.fixture(scope="module")
def run() -> ml.Run:
    run = ml.load(ROOT / "models" / "cnn.safetensors")
    run.metrics["temperature"] = {"value": TEMPERATURE}
    return run


@pytest.fixture(scope="module")
def some(test_digits) -> ml.Digits:
    return test_digits[:1000]


@pytest.fixture(scope="module")
def expected(run, some) -> tuple[np.ndarray, np.ndarray]:
    """Logits and probabilities by the unfolded network and by numpy, from the pixels on."""
    grey = some.images.numpy() / np.float32(255)
    with torch.no_grad():
        logits = run.model(torch.from_numpy((grey - np.float32(MEAN)) / np.float32(STD))).numpy()
    powers = np.exp(logits.astype(float) / TEMPERATURE)
    return logits, powers / powers.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def net(run, folder) -> Path:
    return export.write(run, folder / "net.onnx")


@pytest.fixture(scope="module")
def program(run, folder) -> Path:
    return export.write(run, folder / "net.pt2")


@pytest.fixture(scope="module")
def small(run, folder, train) -> Path:
    return export.to_int8(run, folder / "net.int8.onnx", train[:500])


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_onnx_answers_as_pytorch(net, some, expected):
    logits, probabilities = session(net).run(["logits", "probabilities"], {"images": some.images.numpy()})
    assert logits.dtype == probabilities.dtype == np.float32 and len(logits) == len(some)
    assert np.abs(logits - expected[0]).max() < 1e-4 and np.abs(probabilities - expected[1]).max() < 1e-4
    assert np.array_equal(logits.argmax(1), expected[0].argmax(1))


def test_onnx_takes_any_number_of_digits_and_one_file(net, some, expected):
    network = session(net)
    for count in (1, 2, 64, len(some)):
        (logits,) = network.run(["logits"], {"images": some.images[:count].numpy()})
        assert np.abs(logits - expected[0][:count]).max() < 1e-4
    assert [file.name for file in net.parent.iterdir() if "onnx" in file.name and "int8" not in file.name] == [net.name]


@pytest.mark.parametrize("form", ["net", "small"])
def test_onnx_is_valid_and_says_what_it_is(form, request):
    model = onnx.load(path := request.getfixturevalue(form))
    onnx.checker.check_model(model, full_check=True)
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["network"] == "CNN" and float(said["temperature"]) == TEMPERATURE
    assert said["version"] == model.producer_version == ml.__version__ and model.producer_name == "mnistlab"
    assert ("calibration" in said) == (form == "small")
    (given,) = model.graph.input
    shape = given.type.tensor_type.shape.dim
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert shape[0].dim_param and [side.dim_value for side in shape][1:] == [1, 28, 28]
    assert [output.name for output in model.graph.output] == ["logits", "probabilities"]
    assert str(ROOT).encode() not in path.read_bytes() and b"site-packages" not in path.read_bytes()


def test_int8_is_small_and_nearly_as_good(small, net, some, expected, run):
    kinds = {tensor.data_type for tensor in onnx.load(small).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds and small.stat().st_size < 0.3 * net.stat().st_size
    found = export.check(small, run, some)
    logits, probabilities = export.load(small)(some.images)
    assert (found.count, found.answers) == (len(some), int((logits.numpy().argmax(1) != expected[0].argmax(1)).sum()))
    assert found.logits == pytest.approx(np.abs(logits.numpy() - expected[0]).max(), abs=1e-4)
    assert 0 < found.logits < 1 and found.answers <= 5
    again = (logits.double() / TEMPERATURE).softmax(1)
    assert (probabilities - again).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["cnn", "reader"])
def test_int8_costs_at_most_five_errors_of_ten_thousand(name, small, train, test_digits, tmp_path):
    if not test_digits.is_mnist:
        pytest.skip("this is counted on MNIST's test digits")
    run = ml.load(ROOT / "models" / f"{name}.safetensors")
    path = small if name == "cnn" else export.to_int8(run, tmp_path / "net.int8.onnx", train[:500])
    read = export.load(path)
    answers = torch.cat([read(images)[0].argmax(1) for images in test_digits.images.split(1000)])
    errors = int((answers != test_digits.labels).sum())
    assert errors <= run.metrics["test"]["errors"] + 5


ALONE = """import sys
sys.modules["mnistlab"] = None  # whoever imports it fails
import numpy, torch
images, logits = (torch.from_numpy(numpy.load(name)) for name in sys.argv[2:])
read = torch.export.load(sys.argv[1]).module()
for count in (1, 2, 64, len(images)):
    assert (read(images[:count])[0] - logits[:count]).abs().max() < 1e-4
    assert (read(images[:count])[1].sum(1) - 1).abs().max() < 1e-5
"""


def test_a_program_runs_without_mnistlab(program, some, expected, tmp_path):
    np.save(tmp_path / "images.npy", some.images.numpy())
    np.save(tmp_path / "logits.npy", expected[0])
    files = [str(program), str(tmp_path / "images.npy"), str(tmp_path / "logits.npy")]
    done = subprocess.run([sys.executable, "-c", ALONE, *files], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(ROOT).encode() not in program.read_bytes()


def test_check_finds_another_network(net, some, run):
    few = some[:200]
    assert export.check(net, run, few) == (200, 0, pytest.approx(0, abs=1e-4))
    other = export.check(net, ml.Run(ml.CNN(3).eval()), few)
    assert other.answers > 100 and other.logits > 1


def test_an_ensemble_is_exported_as_it_is(some, tmp_path):
    team = ml.Run(ml.Ensemble(2).eval())
    before = {name: tensor.clone() for name, tensor in team.model.state_dict().items()}
    for name in ("team.onnx", "team.pt2"):
        assert export.check(export.write(team, tmp_path / name), team, some[:64]).logits < 1e-4
    assert all(torch.equal(tensor, before[name]) for name, tensor in team.model.state_dict().items())


def test_the_page_is_the_explorers(run, tmp_path):
    path = export.write(run, tmp_path / "page.html")
    weights = re.search(r'"weights": "([^"]+)"', path.read_text(encoding="utf-8")).group(1)
    assert base64.b64decode(weights) == explorer.packed(run)[1]


def test_nothing_is_said_while_exporting(tmp_path):
    code = (
        "import sys, mnistlab as ml; from mnistlab.shipping import export\n"
        "run, digits = ml.Run(ml.CNN().eval()), ml.load_digits('train', 'offline')\n"
        "export.write(run, 'a.onnx'); export.write(run, 'a.pt2'); export.to_int8(run, 'a.int8.onnx', digits[:60])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.int8.onnx", "a.onnx", "a.pt2"]


def test_errors_name_their_remedy_and_leave_the_old_file(run, train, tmp_path, monkeypatch):
    old = tmp_path / "net.onnx"
    old.write_bytes(b"old")
    with pytest.raises(export.ExportError, match=r"net\.tflite.*\*\.pt2, \*\.int8\.onnx, \*\.onnx, \*\.html"):
        export.write(run, tmp_path / "net.tflite")
    for name in ("page.html", "net.pt2"):
        with pytest.raises(export.ExportError, match=r"cannot be written .* folder of yours"):
            export.write(run, old / name)  # a file where a folder should be
    with pytest.raises(export.ExportError, match="no digit to calibrate on"):
        export.to_int8(run, old, train[:0])
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(export.ExportError, match="No space left"):
            export.to_program(run, old)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(export.ExportError, match=rf"needs {package}: pip install onnx onnxscript onnxruntime"):
                export.to_int8(run, old, train[:60])
    with pytest.raises(export.ExportError, match="damaged"):
        export.load(old)
    with pytest.raises(export.ExportError, match="no file"):
        export.load(tmp_path / "none.pt2")
    assert old.read_bytes() == b"old" and list(tmp_path.iterdir()) == [old]


WITHOUT_TORCH = """import runpy, sys
sys.modules |= dict.fromkeys(["torch", "torchvision", "mnistlab", "onnx"])  # whoever imports one of them fails
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="module")
def address(net) -> Iterator[str]:
    server = str(ROOT / "docs" / "serving" / "server.py")
    words = [sys.executable, "-c", WITHOUT_TORCH, server, str(net), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        yield address
    finally:
        process.kill()
        process.communicate()


def asked(address: str, body: bytes, **headers: str) -> tuple[int, dict]:
    request = urllib.request.Request(address, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def png(levels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "png")
    return file.getvalue()


def test_the_server_reads_pictures_and_numbers(address, some, expected):
    for image, chances in zip(some.images[:5, 0].numpy(), expected[1][:5], strict=True):
        for body in (png(image), json.dumps(image.ravel().tolist()).encode()):
            status, answer = asked(address, body)
            assert status == 200 and answer["digit"] == chances.argmax()
            assert answer["probabilities"] == pytest.approx(chances, abs=1e-4)
            assert answer["confidence"] == max(answer["probabilities"])


def test_the_server_refuses_in_a_plain_sentence(address, some):
    whole = png(some.images[0, 0].numpy())
    bad = [b"", b"hello", b"784", b"[1, 2]", b'{"a": 1}', json.dumps([0.5] * 784).encode(), b"\xff" * 9]
    bad += [json.dumps([256] * 784).encode(), whole[:60], png(np.zeros((20, 28), np.uint8)), b"[" * 60_000]
    for body in bad:
        status, answer = asked(address, body)
        assert status == 400 and re.match(r"Send a PNG of 28×28 pixels.*64 KiB\.$", answer["error"]), body[:20]
    assert asked(address, b"", Content_Length="1000000000")[0] == 400  # refused unread
    assert asked(address, whole)[0] == 200  # and it lives on


def test_the_serving_folder_holds_together():
    docker = (ROOT / "docs" / "serving" / "Dockerfile").read_text()
    readme = (ROOT / "docs" / "serving" / "README.md").read_text(encoding="utf-8")
    assert "USER reader" in docker and '"--host", "0.0.0.0"' in docker and "COPY server.py net.onnx" in docker
    assert len(readme.splitlines()) <= 40 and "not: we had no Docker" in readme
    code = (ROOT / "docs" / "serving" / "server.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in code if line]) < 45


def test_measured_forms_keep_their_promises():
    forms = json.loads((ROOT / "benchmarks" / "results" / "forms.json").read_text())["forms"]
    assert list(forms)[-1] == "explorer page" and len(forms) == 7
    errors = {name: form["errors"] for name, form in forms.items() if "errors" in form}
    assert len(errors) == 6 and errors["PyTorch eager"] == 28 and errors["ONNX int8"] <= 33
    assert {errors[name] for name in errors if name != "ONNX int8"} == {28}
    assert forms["ONNX int8"]["bytes"] < 0.3 * forms["ONNX float32"]["bytes"]
