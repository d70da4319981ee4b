"""mnistlab as others install it: from a wheel, into an empty environment, with no repository in sight."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

import mnistlab as ml

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "data" / "samples" / "photo_ruled_9_2.jpg"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment that holds the wheel, and shares everything else with this one."""
    place = tmp_path_factory.mktemp("apart")
    venv.create(place, with_pip=False)
    there = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [sys.executable, "-m", "pip", "--python", str(there), "install", "--no-deps", "--quiet", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    site = subprocess.check_output([there, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    # A path in a .pth file is searched, but its own .pth files, as that of an editable mnistlab, are not.
    (Path(site.strip()) / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return there


@pytest.fixture
def elsewhere(python, tmp_path, monkeypatch) -> Path:
    """An empty folder, and a user who has never used mnistlab."""
    for name in [name for name in os.environ if name.startswith("MNISTLAB_") or name == "PYTHONPATH"]:
        monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    (tmp_path / "work").mkdir()
    shutil.copy(PHOTO, tmp_path / "work" / "photo.jpg")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def run(python: Path, *words: str) -> str:
    done = subprocess.run([python, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_two_networks_and_is_small(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name for name in names if name.endswith(".safetensors")} == {
        "mnistlab/shipped/cnn.safetensors",
        "mnistlab/shipped/reader.safetensors",
    }
    assert wheel.stat().st_size < 6e6
    assert {"mnistlab/live/explorer/explorer.js", "mnistlab/py.typed", "mnistlab/__init__.pyi"} <= set(names)
    assert not any(name.startswith(("tests", "benchmarks", "notebooks", "tools")) for name in names)


def test_the_command_line_works_from_any_folder(python, elsewhere):
    said = run(python, "-m", "mnistlab", "predict", "photo.jpg")
    assert re.match(r"photo\.jpg: 9 \(\d", said)
    info = run(python, "-m", "mnistlab", "info")
    assert str(ROOT) not in info and f"{Path('shipped') / 'reader.safetensors'}" in info
    assert re.search(rf"home +{re.escape(str(elsewhere / 'user'))}", info)
    run(python, "-m", "mnistlab", "export", "net.onnx")
    assert Path("net.onnx").stat().st_size > 1e6


PROGRAM = """
import json, os
import mnistlab as ml
from mnistlab.live import explorer

assert "site-packages" in ml.__file__.replace(os.sep, "/")
said = ml.Predictor.load().predict("photo.jpg")
digits = ml.load_digits("test", "offline")
page = explorer.write(ml.load(ml.shipped("cnn")), "page.html", digits[:3])
print(json.dumps({"digit": said.digit, "count": len(digits), "home": str(ml.home()), "page": page.stat().st_size}))
"""


def test_the_library_works_from_any_folder(python, elsewhere):
    said = json.loads(run(python, "-c", PROGRAM).splitlines()[-1])
    assert said["digit"] == 9 and said["count"] == 360 and said["page"] > 1e6
    assert Path(said["home"]).is_relative_to(elsewhere / "user")


def test_data_lies_in_the_users_cache(python, elsewhere):
    """What a download put there is found; the files are scikit-learn's digits under MNIST's names."""
    program = "import mnistlab as ml; print(ml.load_digits('test', ml.home() / 'data'))"
    folder = Path(run(python, "-c", "import mnistlab as ml; print(ml.home())").strip()) / "data"
    folder.mkdir(parents=True)
    digits = ml.load_digits("test", "offline")
    for name, dimensions, content in (("images-idx3", 3, digits.images), ("labels-idx1", 1, digits.labels)):
        sizes = [len(digits), 28, 28][:dimensions]
        header = bytes([0, 0, 8, dimensions]) + b"".join(size.to_bytes(4, "big") for size in sizes)
        (folder / f"t10k-{name}-ubyte").write_bytes(header + content.numpy().astype("u1").tobytes())
    assert run(python, "-c", program).startswith("360 digits · IDX files in data/")


def test_the_app_answers(python, elsewhere):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    with subprocess.Popen([python, "-m", "mnistlab", "app", "--port", port], stdout=subprocess.PIPE) as process:
        try:
            for _ in range(300):
                try:
                    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=2).read()
                    break
                except OSError:
                    assert process.poll() is None, "the app ended"
                    time.sleep(0.2)
            assert b"Which digit is this?" in page
        finally:
            process.terminate()
