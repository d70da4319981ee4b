"""Pictures of any classes: what torchvision fetches, tables, archives and folders."""

import gzip
import struct
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import datasets

import mnistlab as ml
from mnistlab.data import images as sets
from mnistlab.data.digits import DataError

COUNT = 12


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28)).astype(np.uint8)


@pytest.fixture
def labels() -> np.ndarray:
    return (np.arange(COUNT) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def put(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))


# what torchvision fetches


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_sets_agree_with_torchvisions(fresh_home, monkeypatch, pictures, labels, name):
    known = sets.KNOWN[name]
    for prefix in ("train", "t10k"):
        put(fresh_home / "data" / known.folder / "raw", prefix, pictures, labels)
    theirs = getattr(datasets, known.folder)(fresh_home / "data", train=False)
    ours = ml.load_images(name, "test")
    assert torch.equal(ours.images[:, 0], theirs.data) and torch.equal(ours.labels, theirs.targets)
    assert list(ours.classes) == theirs.classes and ours.source == known.title and not ours.is_mnist
    assert ours.what == "pictures" and "12 pictures" in repr(ours)
    monkeypatch.setenv("MNISTLAB_DATA", str(fresh_home / "data"))
    assert ml.load_images(name).names == [known.classes[label] for label in labels]


@pytest.mark.parametrize("name", [name for name in sets.KNOWN if name.startswith("emnist")])
def test_emnist_stands_upright_and_has_its_names(fresh_home, pictures, labels, name):
    known, part = sets.KNOWN[name], name.removeprefix("emnist-")
    raw = fresh_home / "data" / "EMNIST" / "raw"
    for split in ("train", "test"):
        put(raw, f"emnist-{part}-{split}", pictures, labels + known.first)
    theirs = datasets.EMNIST(fresh_home / "data", split=part, train=False)
    ours = ml.load_images(name, "test")
    assert torch.equal(ours.images[:, 0], theirs.data.mT), "EMNIST's files are transposed"
    assert [theirs.classes[label].upper() for label in theirs.targets] == [one.upper() for one in ours.names]
    assert len(ours.classes) == len(theirs.classes) - known.first  # torchvision's letters begin with "N/A"


def test_a_folder_of_emnists_files_is_known_by_their_names(tmp_path, pictures, labels):
    put(tmp_path, "emnist-letters-train", pictures, labels + 1)
    ours = ml.load_images(tmp_path)
    assert torch.equal(ours.images[:, 0], torch.from_numpy(pictures).mT) and ours.names[:3] == ["A", "B", "C"]
    assert torch.equal(ml.load_images(tmp_path, transposed=False).images[:, 0], torch.from_numpy(pictures))


def test_digits_that_lie_on_their_side_are_noticed(tmp_path, test_digits):
    turned = test_digits.images[:300, 0].mT.numpy()
    put(tmp_path, "train", turned, test_digits.labels[:300].numpy().astype(np.uint8))
    with pytest.warns(UserWarning, match=r"lie on their side.*transposed=True"):
        ml.load_images(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = ml.load_images(tmp_path, transposed=True)
    assert torch.equal(again.images, test_digits.images[:300])


def test_what_cannot_be_fetched_is_said(fresh_home, monkeypatch):
    def fail(*_, **__) -> None:
        raise RuntimeError("Error downloading it")

    monkeypatch.setattr(datasets, "KMNIST", fail)
    with pytest.raises(DataError, match=r"KMNIST could not be fetched \(Error downloading it\)\. Connect once"):
        ml.load_images("kmnist")
    monkeypatch.setenv("MNISTLAB_DATA", "offline")
    with pytest.raises(DataError, match="MNISTLAB_DATA=offline forbids a download"):
        ml.load_images("kmnist")


def test_a_download_comes_whole_into_data(fresh_home, monkeypatch, pictures, labels):
    def fetch(root: Path, download: bool) -> None:
        for prefix in ("train", "t10k"):
            put(root / "KMNIST" / "raw", prefix, pictures, labels)

    monkeypatch.setattr(datasets, "KMNIST", fetch)
    assert len(ml.load_images("kmnist")) == COUNT
    assert sorted(path.name for path in (fresh_home / "data").iterdir()) == [".download.lock", "KMNIST"]
    monkeypatch.delattr(datasets, "KMNIST")
    assert len(ml.load_images("kmnist", "test")) == COUNT


# tables and archives


PIXELS = {
    "kaggle": [f"pixel{place}" for place in range(784)],
    "fashion": [f"pixel{place}" for place in range(1, 785)],
    "in csv": [f"{row}x{column}" for row in range(1, 29) for column in range(1, 29)],
    "bare": None,
}


@pytest.mark.parametrize("columns", PIXELS.values(), ids=PIXELS)
def test_tables(tmp_path, pictures, labels, columns):
    table = pd.DataFrame(pictures.reshape(COUNT, -1), columns=columns)
    table.insert(0, "label", labels)
    table.to_csv(tmp_path / "mnist_train.csv", index=False, header=columns is not None)
    table.drop(columns="label").to_csv(tmp_path / "mnist_test.csv", index=False, header=columns is not None)
    for source in (tmp_path, tmp_path / "mnist_train.csv"):
        found = ml.load_images(source)
        assert torch.equal(found.images[:, 0], torch.from_numpy(pictures)) and found.labels.tolist() == labels.tolist()
    assert ml.load_images(tmp_path, "test").labels is None
    with pytest.raises(DataError, match=r"is one table\. Set some of it aside"):
        ml.load_images(tmp_path / "mnist_train.csv", "test")


def test_labels_in_words(tmp_path, pictures):
    words = ["circle", "square", "arrow"] * 4
    table = pd.DataFrame(pictures.reshape(COUNT, -1), columns=PIXELS["kaggle"])
    table.assign(label=words).to_csv(tmp_path / "shapes.csv", index=False)
    found = ml.load_images(tmp_path / "shapes.csv")
    assert found.classes == ("arrow", "circle", "square") and found.names == words


def test_more_labels_than_ten_are_classes_too(tmp_path, pictures):
    np.savez(tmp_path / "own.npz", images=pictures, labels=np.arange(COUNT) + 5)
    found = ml.load_images(tmp_path / "own.npz")
    assert len(found.classes) == COUNT + 5 and found.names[0] == "5"
    named = ml.load_images(tmp_path / "own.npz", classes=[f"kind {n}" for n in range(20)])
    assert named.names[-1] == "kind 16"
    with pytest.raises(DataError, match=r"Labels must lie in 0…2.*Other classes need names"):
        ml.load_images(tmp_path / "own.npz", classes=["a", "b", "c"])


def test_kerass_archive(tmp_path, pictures, labels):
    np.savez(tmp_path / "mnist.npz", x_train=pictures, y_train=labels, x_test=pictures[:3], y_test=labels[:3])
    for source in (tmp_path, tmp_path / "mnist.npz"):
        assert len(ml.load_images(source)) == COUNT
        assert torch.equal(ml.load_images(source, "test").images[:, 0], torch.from_numpy(pictures[:3]))


def test_mnist_is_known_in_any_form(tmp_path, train):
    if not train.is_mnist:
        pytest.skip("MNIST is not here")
    np.savez_compressed(tmp_path / "mnist.npz", x_train=train.images[:, 0].numpy(), y_train=train.labels.numpy())
    assert ml.load_images(tmp_path / "mnist.npz").is_mnist


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros(3)}, "holds a; it needs x_train and y_train"),
        ({"x_train": np.zeros((2, 28, 28)), "y_train": np.array([{}, {}])}, "holds more than numbers"),
        ({"x_train": np.zeros((2, 32, 32), np.uint8), "y_train": np.zeros(2, int)}, r"shape \(2, 1, 32, 32\)|28, 28"),
        ({"x_train": np.full((2, 28, 28), 0.5), "y_train": np.zeros(2, int)}, "run from 0 to 1.*Multiply them by 255"),
        ({"x_train": np.zeros((2, 28, 28), np.uint8), "y_train": np.zeros(3, int)}, "2 images but 3 labels"),
    ],
    ids=["other names", "objects", "size", "floats", "counts"],
)
def test_archives_that_cannot_be_read(tmp_path, arrays, said):
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataError, match=said):
        ml.load_images(tmp_path / "own.npz")


def test_what_is_no_archive(tmp_path):
    (tmp_path / "own.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(DataError, match="damaged, or no NumPy archive"):
        ml.load_images(tmp_path / "own.npz")
    (tmp_path / "own.mat").write_bytes(b"")
    with pytest.raises(DataError, match=r"no \*\.csv and no \*\.npz"):
        ml.load_images(tmp_path / "own.mat")
    with pytest.raises(DataError, match=r"no folder or file .*fashion-mnist"):
        ml.load_images("mnits")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"There are no train pictures in .*: no sub-folders"):
        ml.load_images(tmp_path / "empty")


# folders


def drawn(path: Path, sign: str, shift: int = 0) -> None:
    """A thick dark mark on light paper, 60 pixels a side."""
    page = np.full((60, 60), 235, np.uint8)
    page[15 + shift : 45 + shift, 26:34] = 20
    if sign == "plus":
        page[26 + shift : 34 + shift, 15:45] = 20
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path)


@pytest.fixture
def folders(tmp_path) -> Path:
    for number in range(4):
        drawn(tmp_path / "signs" / "plus" / f"{number}.png", "plus", number)
        drawn(tmp_path / "signs" / "bar" / f"{number}.jpg", "bar", number)
    return tmp_path / "signs"


def test_a_folder_a_class(folders):
    found = ml.load_images(folders)
    assert found.classes == ("bar", "plus") and found.names == ["bar"] * 4 + ["plus"] * 4
    assert found.source == "signs/" and found.what == "pictures"
    assert torch.equal(found.images[5], ml.to_mnist(folders / "plus" / "1.png"))
    with pytest.raises(DataError, match=r'no folder "test"\. Set some aside'):
        ml.load_images(folders, "test")
    learn, val = found.split(0.5, seed=0)
    assert sorted(val.names) == ["bar", "bar", "plus", "plus"] == sorted(learn.names)


def test_plain_pictures_are_only_shrunk(folders):
    found = ml.load_images(folders, form="plain")
    page = Image.open(folders / "plus" / "2.png")
    expected = 255 - np.asarray(page.resize((28, 28), Image.Resampling.BOX), float)
    assert np.abs(found.images[6, 0].numpy() - expected).mean() < 4  # the marks are light, and where they were
    wide = np.zeros((28, 84), np.uint8)
    wide[:, 40:44] = 255
    Image.fromarray(wide).save(folders / "bar" / "9.png")
    stripe = ml.load_images(folders, form="plain").images[4, 0].double()
    assert stripe[:9].sum() == 0 and stripe[19:].sum() == 0 and stripe[14].argmax() in (13, 14)


def test_train_and_test_folders_and_numbers_in_order(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for name in ("2", "10", "9"):
            for number in range(count):
                drawn(tmp_path / split / name / f"{number}.png", "plus")
    found = ml.load_images(tmp_path)
    assert found.classes == ("2", "9", "10") and len(found) == 9 and len(ml.load_images(tmp_path, "test")) == 6


def test_what_is_left_out_is_named(folders):
    (folders / "bar" / "notes.txt").write_text("mine")
    (folders / "bar" / ".DS_Store").write_bytes(b"")
    (folders / "plus" / "broken.png").write_bytes(b"no picture")
    (folders / "plus" / "IMG_1.heic").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out") as caught:
        found = ml.load_images(folders)
    said = str(caught[0].message)
    assert all(name in said for name in ("bar/notes.txt", "broken.png", "IMG_1.heic")) and ".DS_Store" not in said
    assert len(found) == 8


def test_folders_without_pictures(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="no sub-folders with pictures"):
        ml.load_images(tmp_path)


def test_words_that_are_none_of_the_choices(folders):
    with pytest.raises(DataError, match='"train" or "test"'):
        ml.load_images(folders, "val")
    with pytest.raises(DataError, match='"mnist" or "plain"'):
        ml.load_images(folders, form="square")


def test_a_class_has_one_number_in_both_splits(tmp_path):
    """The test pictures lack a class, and the folders are spelled as in the PNG files of MNIST that are about."""
    for split, names in (("training", "abc"), ("Testing", "ac")):
        for name in names:
            drawn(tmp_path / split / name / "1.png", "plus")
    learn, test = ml.load_images(tmp_path), ml.load_images(tmp_path, "test")
    assert learn.classes == test.classes == ("a", "b", "c")
    assert learn.labels.tolist() == [0, 1, 2] and test.labels.tolist() == [0, 2]
    drawn(tmp_path / "Testing" / "d" / "1.png", "plus")
    with pytest.raises(DataError, match="holds d, and the training pictures have no such folder"):
        ml.load_images(tmp_path, "test")
    with pytest.raises(DataError, match="holds 3 folders, and 2 names"):
        ml.load_images(tmp_path, classes=["a", "b"])


def test_words_are_numbered_as_the_classes_are(tmp_path, pictures):
    table = pd.DataFrame(pictures[:2].reshape(2, -1), columns=PIXELS["kaggle"])
    table.assign(label=["cat", "emu"]).to_csv(tmp_path / "animals_test.csv", index=False)
    found = ml.load_images(tmp_path, "test", classes=["ant", "cat", "dog", "emu"])
    assert found.labels.tolist() == [1, 3] and found.names == ["cat", "emu"]
    with pytest.raises(DataError, match="has the label emu, which is no class here"):
        ml.load_images(tmp_path, "test", classes=["ant", "cat"])
    with pytest.raises(DataError, match="is one table"):
        ml.load_images(tmp_path / "animals_test.csv", "test")  # it would be learned from and judged by


def test_a_packed_file_beside_the_plain_one(tmp_path, pictures, labels):
    put(tmp_path, "train", pictures, labels)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert len(ml.load_images(tmp_path)) == COUNT
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert ml.load_images(tmp_path).labels.tolist() == labels.tolist()


def test_other_folders_do_not_hide_the_files(tmp_path, pictures, labels):
    put(tmp_path, "train", pictures, labels)
    (tmp_path / "submissions").mkdir()
    (tmp_path / "raw").mkdir()
    assert len(ml.load_images(tmp_path)) == COUNT


def test_why_no_picture_could_be_read_is_said(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"None of the 2 pictures could be read\. .*1\.png is no picture"):
        ml.load_images(tmp_path)


def test_kaggles_table_of_letters_is_known_by_its_name(tmp_path, pictures, labels):
    table = pd.DataFrame(pictures.reshape(COUNT, -1))
    table.insert(0, "label", labels + 1)
    table.to_csv(tmp_path / "emnist-letters-train.csv", index=False, header=False)
    found = ml.load_images(tmp_path)
    assert found.names[:3] == ["A", "B", "C"] and torch.equal(found.images[:, 0], torch.from_numpy(pictures).mT)


def test_half_a_set_is_fetched_again(fresh_home, monkeypatch, pictures, labels):
    """Its test files are missing, as after a kill while they were unpacked."""
    put(fresh_home / "data" / "KMNIST" / "raw", "train", pictures, labels)

    def fetch(root: Path, download: bool) -> None:
        for prefix in ("train", "t10k"):
            put(root / "KMNIST" / "raw", prefix, pictures, labels)

    monkeypatch.setattr(datasets, "KMNIST", fetch)
    assert len(ml.load_images("kmnist", "test")) == COUNT
