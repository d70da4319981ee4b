import gzip
import hashlib
import math
import os
import struct
import tracemalloc
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import mnistlab as ml
from mnistlab.data import sources
from mnistlab.data.digits import MEAN, STD, DataError
from mnistlab.data.form import centre_in_box, centre_of_mass
from mnistlab.data.sources import writers

COUNT = 12


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(COUNT, dtype=np.uint8) % 10


@pytest.fixture
def folder(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


@pytest.fixture
def kaggle(images: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(images.reshape(COUNT, 784), columns=[f"pixel{i}" for i in range(784)])
    table.insert(0, "label", labels)
    return table


def refused(folder: Path, *words: str, split: str = "train") -> None:
    """Loading fails with a DataError that holds the words, and every file is still what it was."""
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and os.access(p, os.R_OK)}
    with pytest.raises(DataError) as caught:
        ml.load_digits(split, folder)
    for word in words:
        assert word in str(caught.value)
    assert before == {p: p.read_bytes() for p in before}


# what is right


def test_idx_folder(folder, images, labels):
    digits = ml.load_digits("train", folder)
    assert digits.images.dtype == torch.uint8 and digits.labels.dtype == torch.int64
    np.testing.assert_array_equal(digits.images[:, 0], images)
    np.testing.assert_array_equal(digits.labels, labels)
    assert "not MNIST" in digits.source and not digits.is_mnist


def test_idx_folder_compressed(folder, images):
    for file in list(folder.iterdir()):
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    np.testing.assert_array_equal(ml.load_digits("train", folder).images[:, 0], images)


def test_kaggle(tmp_path, kaggle, images, labels):
    kaggle.to_csv(tmp_path / "train.csv", index=False)
    kaggle.drop(columns="label").to_csv(tmp_path / "test.csv", index=False)
    digits = ml.load_digits("train", tmp_path)
    np.testing.assert_array_equal(digits.images[:, 0], images)
    np.testing.assert_array_equal(digits.labels, labels)
    unlabelled = ml.load_digits("test", tmp_path)
    assert unlabelled.labels is None and len(unlabelled) == COUNT and "without labels" in repr(unlabelled)
    with pytest.raises(DataError, match="no folder"):  # one file for both splits would test on what was learned
        ml.load_digits("test", tmp_path / "train.csv")


def test_environment_names_the_folder(folder, monkeypatch):
    monkeypatch.setenv("MNISTLAB_DATA", str(folder))
    assert len(ml.load_digits("train")) == COUNT
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("MNISTLAB_HOME", str(folder.parent))
    monkeypatch.setenv("MNISTLAB_DATA", folder.name)  # relative: to the root, wherever the notebook runs
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    assert len(ml.load_digits("train")) == COUNT
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    assert ml.load_digits("test").source == sources.OFFLINE


def test_data_folder_is_found_without_a_download(fresh_home, folder, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *_, **__: pytest.fail("no download is needed"))
    for file in list(folder.glob("train-*")):
        (fresh_home / "data").mkdir(exist_ok=True)
        file.rename(fresh_home / "data" / file.name)
    assert len(ml.load_digits("train")) == COUNT


def test_mnist_agrees_with_torchvision(train):
    if not train.is_mnist:
        pytest.skip("needs MNIST")
    root = os.environ.get("MNISTLAB_DATA", ml.home() / "data")
    reference = torchvision.datasets.MNIST(root, train=True)
    assert torch.equal(train.images[:, 0], reference.data) and torch.equal(train.labels, reference.targets)
    pixels = train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(MEAN, abs=1e-9)
    assert float(pixels.std()) == pytest.approx(STD, abs=1e-7)


def test_normalise(train):
    images = train.images[:64]
    reference = torchvision.transforms.Normalize((MEAN,), (STD,))(images.float() / 255)
    torch.testing.assert_close(ml.normalise(images), reference, rtol=1e-5, atol=1e-5)


# what is wrong: images and labels


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_truncated(folder, name):
    file = folder / name
    file.write_bytes(file.read_bytes()[:-3])
    refused(folder, name, "truncated", "fetch it again")


def test_truncated_inside_the_header(folder):
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:10])
    refused(folder, file.name, "truncated")


def test_truncated_gzip(folder):
    file = folder / "train-images-idx3-ubyte"
    (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes())[:-20])
    file.unlink()
    refused(folder, f"{file.name}.gz", "truncated")


def test_altered_gzip(folder):
    file = folder / "train-images-idx3-ubyte"
    content = bytearray(gzip.compress(file.read_bytes()))
    content[40] ^= 0xFF
    (folder / f"{file.name}.gz").write_bytes(content)
    file.unlink()
    refused(folder, f"{file.name}.gz")


def test_wrong_magic(folder):
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(b"\x89PNG" + file.read_bytes()[4:])
    refused(folder, file.name, "wrong magic number")


def test_labels_where_images_should_be(folder):
    (folder / "train-images-idx3-ubyte").write_bytes((folder / "train-labels-idx1-ubyte").read_bytes())
    refused(folder, "wrong magic number")


def test_empty_file(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(b"")
    refused(folder, "train-labels-idx1-ubyte is empty")


def test_labels_outside_0_to_9(folder, labels):
    labels[5] = 11
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    refused(folder, "label 5 is 11", "0…9")


def test_different_lengths(folder, labels):
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels[:-1]))
    refused(folder, "12 images", "11 labels")


def test_images_of_another_size(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((COUNT, 32, 32))))
    refused(folder, "32×32", "28×28")


def test_labels_missing(folder):
    (folder / "train-labels-idx1-ubyte").unlink()
    refused(folder, "no labels beside it")


@pytest.mark.parametrize("altered", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_altered_mnist(folder, monkeypatch, altered):
    """In torchvision's layout both files must be MNIST's own, to the last bit; one genuine file is not enough."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in list(folder.glob("train-*")):
        file.rename(raw / file.name)
    hashes = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in raw.iterdir()}
    monkeypatch.setattr(sources, "MD5", sources.MD5 | hashes)
    assert ml.load_digits("train", folder).source == "MNIST"
    content = bytearray((raw / altered).read_bytes())
    content[-1] ^= 1
    (raw / altered).write_bytes(content)
    refused(folder, altered, "MD5", "altered")
    for file in list(raw.iterdir()):
        file.rename(folder / file.name)
    assert ml.load_digits("train", folder).source != "MNIST"


def test_no_such_folder_and_nothing_in_it(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        ml.load_digits("train", tmp_path / "nowhere")
    refused(tmp_path, "No MNIST in", "MNISTLAB_DATA")


def test_unknown_split():
    with pytest.raises(DataError, match='"train" or "test"'):
        ml.load_digits("validation")


def test_folder_without_permission(folder, monkeypatch):
    """As root every folder is open, so the system's answer is put in its place."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    with pytest.raises(DataError, match="No permission to read"):
        ml.load_digits("train", folder)


def test_file_without_permission(folder, monkeypatch):
    def closed(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(DataError, match=r"No permission to read .*train-images"):
        ml.load_digits("train", folder)


@pytest.mark.parametrize("shape", [(2**31, 2**31, 4), (2**32 - 1,) * 3, (900_000, 28, 28)])
def test_header_that_announces_more_than_there_can_be(folder, shape):
    """The first would be nothing at all, were it counted in 64 bits."""
    name = "train-images-idx3-ubyte"
    (folder / name).write_bytes(struct.pack(">IIII", 0x803, *shape))
    refused(folder, name, f"{math.prod(shape) + 16:,} bytes", "are the most")


@pytest.mark.slow
def test_a_small_gz_that_holds_a_gigabyte_is_read_no_further_than_it_says(folder, images):
    (folder / "train-images-idx3-ubyte").unlink()
    packer = zlib.compressobj(9, wbits=31)
    content = [packer.compress(idx(images)), *(packer.compress(bytes(2**24)) for _ in range(64)), packer.flush()]
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"".join(content))
    tracemalloc.start()
    try:
        refused(folder, "train-images-idx3-ubyte.gz", "has more")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


# what is wrong: Kaggle's tables


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.drop(columns="pixel7"), ("lacks pixel7",)),
        (lambda t: t.assign(extra=1), ("has extra too many",)),
        (lambda t: t.drop(columns="label"), ("no column label",)),
        (
            lambda t: t.astype(object).replace({"pixel3": {t.pixel3[2]: "grey"}}),
            ("column pixel3", "'grey'", "0…255"),
        ),
        (lambda t: t.assign(pixel9=256), ("line 2", "column pixel9", "256")),
        (lambda t: t.assign(pixel9=-1), ("column pixel9", "-1")),
        (lambda t: t.assign(pixel9=1.5), ("column pixel9", "1.5")),
        (lambda t: t.assign(pixel9=np.nan), ("column pixel9", "nan")),
        (lambda t: t.assign(pixel9="9" * 400), ("column pixel9", "9999")),  # beyond what a float holds
        (lambda t: t.assign(pixel9=True), ("column pixel9", "True")),
        (lambda t: t.assign(label=10), ("label 0 is 10",)),
        (lambda t: t.iloc[:0], ("no digits",)),
    ],
)
def test_bad_kaggle_table(tmp_path, kaggle, spoil, words):
    spoil(kaggle).to_csv(tmp_path / "train.csv", index=False)
    refused(tmp_path, "train.csv", *words)


@pytest.mark.parametrize("place", ["first", "last"])
def test_kaggle_rows_with_a_value_too_many(tmp_path, kaggle, place):
    header, *rows = kaggle.to_csv(index=False).splitlines()
    rows = [f"7,{row}" if place == "first" else f"{row},7" for row in rows]
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]))
    refused(tmp_path, "train.csv", "extra column")


def test_empty_kaggle_file(tmp_path):
    (tmp_path / "train.csv").write_text("")
    refused(tmp_path, "train.csv is empty")


def test_kaggle_file_that_is_no_table(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    refused(tmp_path, "train.csv")


# downloading


class Mirror:
    """Stands in for torchvision's download: writes four small files, or fails as a cut connection does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, images: np.ndarray, labels: np.ndarray) -> None:
        self.files = {name: idx(images if "images" in name else labels) for name in sources.MD5}
        self.calls = 0
        self.cut = False
        monkeypatch.setattr(sources, "MD5", {n: hashlib.md5(c).hexdigest() for n, c in self.files.items()})
        monkeypatch.setattr("torchvision.datasets.MNIST", self)

    def __call__(self, root: Path, download: bool) -> None:
        self.calls += 1
        raw = Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for number, (name, content) in enumerate(self.files.items()):
            if (raw / name).exists():  # torchvision trusts what is there
                continue
            if self.cut and number == 1:
                (raw / name).write_bytes(content[:100])
                raise RuntimeError(f"Error downloading {name}")
            (raw / name).write_bytes(content)
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):  # torchvision reads them at once
            if (raw / name).read_bytes() != self.files[name]:
                raise ValueError("invalid literal for int() with base 16: ''")


@pytest.fixture
def mirror(fresh_home, monkeypatch, images, labels) -> Mirror:
    return Mirror(monkeypatch, images, labels)


def test_download(mirror, fresh_home, images):
    digits = ml.load_digits("train")
    np.testing.assert_array_equal(digits.images[:, 0], images)
    assert digits.source == "MNIST" and mirror.calls == 1
    assert sorted(p.name for p in (fresh_home / "data" / "MNIST" / "raw").iterdir()) == sorted(sources.MD5)
    assert len(ml.load_digits("test")) == COUNT and mirror.calls == 1


def test_download_cut_half_way(mirror, fresh_home, images):
    mirror.cut = True
    with pytest.raises(OSError, match="Error downloading"):
        ml.load_digits("train", "download")
    assert not (fresh_home / "data" / "MNIST").exists()
    mirror.cut = False
    np.testing.assert_array_equal(ml.load_digits("train", "download").images[:, 0], images)


def test_killed_while_moving_in(mirror, fresh_home, monkeypatch, images):
    """Two of four files moved, then nothing: the next call finds no images without labels, and starts over."""
    moved = []

    def replace(source, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(Path(target).name)
        os.rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            ml.load_digits("train")
    assert all("labels" in name for name in moved)
    np.testing.assert_array_equal(ml.load_digits("train").images[:, 0], images)


@pytest.mark.parametrize("name", sources.MD5)
@pytest.mark.parametrize("length", [0, 100])
def test_half_unpacked_file_of_an_earlier_try_is_never_read(mirror, fresh_home, images, name, length):
    raw = fresh_home / "data" / ".download" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for other, content in mirror.files.items():
        (raw / other).write_bytes(content[:length] if other == name else content)
    np.testing.assert_array_equal(ml.load_digits("train", "download").images[:, 0], images)
    np.testing.assert_array_equal(ml.load_digits("test", "download").images[:, 0], images)


def test_file_that_arrives_damaged_is_not_kept(mirror, fresh_home, images):
    whole = mirror.files["t10k-images-idx3-ubyte"]
    mirror.files["t10k-images-idx3-ubyte"] = whole[:-1]
    with pytest.raises(OSError, match="arrived damaged"):
        ml.load_digits("train", "download")
    assert not (fresh_home / "data" / "MNIST").exists()
    mirror.files["t10k-images-idx3-ubyte"] = whole
    np.testing.assert_array_equal(ml.load_digits("test", "download").images[:, 0], images)


def test_no_network_falls_back_loudly(mirror):
    mirror.cut = True
    with pytest.warns(UserWarning, match="NO MNIST HERE") as caught:
        digits = ml.load_digits("train")
    assert digits.source == sources.OFFLINE and len(digits) == 1437
    assert "MNISTLAB_DATA" in str(caught[0].message) and caught[0].filename == __file__


# Digits


def test_parts_of_digits(train):
    assert len(train[3]) == 1 and train[3].labels == train.labels[3]
    assert torch.equal(train[-1].images, train.images[-1:])
    assert len(train[10:20]) == 10
    fours = train[train.labels == 4]
    assert (fours.labels == 4).all() and fours.source == train.source
    assert torch.equal(train[np.int64(3)].images, train[torch.tensor(3)].images)
    assert train != train[:1]
    with pytest.raises(IndexError, match="no digit"):
        train[len(train)]


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (torch.zeros(2, 28, 27, dtype=torch.uint8), torch.zeros(2).long(), "shape.*to_mnist brings"),
        (torch.rand(2, 1, 28, 28), torch.zeros(2).long(), "run from 0 to 1.*Multiply them by 255"),
        (torch.randn(2, 1, 28, 28), torch.zeros(2).long(), "as if they were normalised already"),
        (torch.full((2, 28, 28), 7.5), torch.zeros(2).long(), "whole numbers in 0…255; these are torch.float32"),
        (np.full((2, 28, 28), 256), [0, 1], "whole numbers in 0…255; these are torch.int64"),
        ([[1, 2], [3]], [0], "one array of shape"),
        (np.zeros((2, 28, 28), np.uint8), ["one", "two"], "Labels must be whole numbers"),
        (np.zeros((2, 28, 28), np.uint8), [0.5, 1], "Labels must be whole numbers"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(3).long(), "3 labels"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([0, 10]), "0…9"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.zeros(2), "int64"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_digits_refuse(images, labels, words):
    with pytest.raises(DataError, match=words):
        ml.Digits(images, labels, "test")


@pytest.mark.usefixtures("unchecked")
def test_arrays_and_lists_become_digits():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    for images in (pixels, pixels.astype(np.uint8), pixels.astype(float), pixels.tolist(), torch.from_numpy(pixels)):
        for labels in ([1, 2, 3], np.array([1, 2, 3], np.uint8), torch.tensor([1, 2, 3], dtype=torch.int32), None):
            digits = ml.Digits(images, labels, "mine")
            assert digits.images.dtype == torch.uint8 and digits.images.shape == (3, 1, 28, 28)
            np.testing.assert_array_equal(digits.images[:, 0], pixels)
            assert labels is None or (digits.labels.dtype == torch.int64 and digits.labels.tolist() == [1, 2, 3])
    with pytest.raises(DataError, match="each with a name of its own"):
        ml.Digits(pixels, [0, 0, 0], "mine", classes=("a", "a"))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(3, 1, 28, 28), "run from 0 to 1; grey levels run from 0 to 255. Multiply them by 255"),
        (torch.randn(3, 1, 28, 28), r"as if they were normalised already.*model\(images\)"),
    ],
    ids=["ToTensor", "normalised"],
)
def test_floats_that_are_no_grey_levels_are_refused(images, said):
    for call in (ml.normalise, partial(ml.logits, ml.LeNet()), ml.Predictor(ml.Run(ml.LeNet())).logits):
        with pytest.raises(DataError, match=said):
            call(images)
    assert torch.equal(
        ml.normalise(255 * images.abs().clamp(max=1)), (255 * images.abs().clamp(max=1) - 255 * MEAN) / (255 * STD)
    )


@pytest.mark.slow
@given(fraction=st.floats(0.05, 0.95), seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_split(fraction, seed):
    digits = ml.load_digits("train", "offline")
    rest, aside = digits.split(fraction, seed)
    assert len(rest) + len(aside) == len(digits)
    assert abs(len(aside) - fraction * len(digits)) <= 1
    together = torch.cat([rest.images, aside.images]).flatten(1)
    assert torch.equal(together.unique(dim=0), digits.images.flatten(1).unique(dim=0))
    for digit in range(10):
        share = (digits.labels == digit).double().mean()
        assert abs((aside.labels == digit).double().mean() - share) <= 1 / len(aside) + 1e-9
    again, _ = digits.split(fraction, seed)
    assert torch.equal(rest.images, again.images)


def test_split_refuses(offline):
    with pytest.raises(DataError, match="between 0 and 1"):
        offline.split(1.5)
    with pytest.raises(DataError, match="too few"):
        offline[:12].split(0.1)
    with pytest.raises(DataError, match="without labels"):
        ml.Digits(offline.images, None, "x").split()
    with pytest.raises(DataError, match="without labels"):
        next(ml.Digits(offline.images, None, "x").batches(3))


@given(batch_size=st.integers(1, 200), seed=st.none() | st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_batches(batch_size, seed):
    digits = ml.load_digits("test", "offline")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = list(digits.batches(batch_size, generator))
    assert {len(labels) for _, labels in batches[:-1]} <= {batch_size}
    images, labels = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    if seed is None:
        assert torch.equal(images, digits.images) and torch.equal(labels, digits.labels)
    else:
        assert not torch.equal(labels, digits.labels)
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(images, digits.images[order]) and torch.equal(labels, digits.labels[order])


# MNIST's own form


def test_centre_of_mass_agrees_with_scipy(train):
    images = train.images[:50, 0]
    reference = [ndimage.center_of_mass(image.numpy()) for image in images]
    np.testing.assert_allclose(centre_of_mass(images), reference, rtol=1e-5)


def test_every_digit_is_in_mnists_form(train, offline):
    for digits, shortest in ((train, 19), (offline, 19)):
        assert ((centre_of_mass(digits.images[:, 0]) - 14).abs() <= 0.5).all(1).double().mean() > 0.999
        ink = digits.images[:, 0] > 0
        index = torch.arange(28)
        extents = [
            torch.where(inked, index, -1).amax(1) - torch.where(inked, index, 28).amin(1) + 1
            for inked in (ink.any(2), ink.any(1))
        ]
        sides = torch.maximum(*extents)
        assert shortest <= sides.min() and sides.max() == 20


@given(top=st.integers(0, 60), left=st.integers(0, 60), height=st.integers(3, 60), width=st.integers(3, 60))
@settings(max_examples=40, deadline=None)
def test_centre_in_box_forgets_the_place(top, left, height, width):
    page = torch.zeros(120, 120)
    page[top : top + height, left : left + width] = 255
    result = centre_in_box(page)
    assert torch.equal(result, centre_in_box(page[top : top + height, left : left + width]))
    box = (result > 100).nonzero()
    sides = (box.amax(0) - box.amin(0) + 1).tolist()
    expected = [20 * side / max(height, width) for side in (height, width)]
    assert all(abs(side - wanted) <= 2 for side, wanted in zip(sides, expected, strict=True))
    assert ((centre_of_mass(result) - 14).abs() <= 0.5).all()


def test_centre_in_box_of_nothing():
    assert centre_in_box(torch.zeros(5, 7)).sum() == 0
    assert centre_in_box(torch.full((5, 5), 0.3)).sum() == 0  # fainter than one grey level


@pytest.fixture
def qmnist(test_digits, tmp_path) -> Path:
    """A label file like QMNIST's for the real test digits: each of ten writers wrote every tenth, the eleventh the rest."""
    if not test_digits.is_mnist:
        pytest.skip("QMNIST's labels belong to MNIST")
    labels = torch.cat([test_digits.labels, torch.arange(500) % 10])
    rows = torch.zeros(10_500, 8, dtype=torch.int32)
    rows[:, 0], rows[:, 2] = labels, torch.arange(10_500) % 10 + 1
    rows[:5000, 1] = 4
    rows[10_000:, 2] = 11
    file = tmp_path / "qmnist" / "qmnist-test-labels-idx2-int.gz"
    file.parent.mkdir()
    file.write_bytes(gzip.compress(np.array([3074, 10_500, 8], ">i4").tobytes() + rows.numpy().astype(">i4").tobytes()))
    return file


@pytest.fixture
def beside(test_digits, qmnist) -> ml.Digits:
    """The test digits, as if they had been found beside those labels."""
    return replace(test_digits, folder=qmnist.parents[1] / "mnist")


def test_writers_are_those_of_qmnists_first_rows(beside, qmnist):
    table = writers(beside)
    assert table["writer"].to_list() == [n % 10 + 1 for n in range(10_000)]
    assert (table["group"] == np.repeat(["students", "employees"], 5000)).all()
    torchvisions = qmnist.parents[1] / "mnist" / "QMNIST" / "raw" / qmnist.stem
    torchvisions.parent.mkdir(parents=True)
    torchvisions.write_bytes(gzip.decompress(qmnist.read_bytes()))
    qmnist.unlink()
    assert writers(beside).equals(table)


def test_writers_are_known_of_whole_mnist_only(beside, qmnist):
    assert writers(beside[:5000]) is None
    assert writers(beside[torch.arange(9999, -1, -1)]) is None
    qmnist.unlink()
    assert writers(beside) is None


def test_writers_of_a_damaged_file_are_refused(beside, qmnist):
    whole = gzip.decompress(qmnist.read_bytes())
    for damaged in (whole[:-250_000], whole[:12] + whole[44:], b""):
        qmnist.write_bytes(gzip.compress(damaged))
        with pytest.raises(DataError, match="its labels are not MNIST's"):
            writers(beside)
    qmnist.write_bytes(qmnist.read_bytes()[:-5])
    with pytest.raises(DataError, match="truncated"):
        writers(beside)


def test_offline_digits_have_no_known_writers(offline):
    assert writers(offline) is None


def test_split_by_group_keeps_each_on_one_side():
    images = torch.zeros(700, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(700) // 7  # the group, written into the picture
    digits = ml.Digits(images, torch.arange(700) % 10, "numbered", "train")
    rest, aside = digits.split(0.2, seed=1, groups=np.arange(700) // 7)
    ours, theirs = (set(part.images[:, 0, 0, 0].tolist()) for part in (rest, aside))
    assert len(theirs) == 20 and ours | theirs == set(range(100)) and not ours & theirs
    assert len(aside) == 140 and len(rest) == 560 and aside.split_name == "20% of train"
    assert torch.equal(digits.split(0.2, 1, np.arange(700) // 7)[1].images, aside.images)
    assert not torch.equal(digits.split(0.2, 2, np.arange(700) // 7)[1].images, aside.images)
    with pytest.raises(DataError, match="these groups"):
        digits.split(0.2, groups=[1] * 700)
