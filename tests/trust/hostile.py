"""Files as accidents and ill will make them: valid ones with bits turned, ends cut off, headers swapped."""

import gzip
import io
import json
import pickle
import random
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import safetensors
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save

FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "WEBP": ("RGB", "RGBA"),
}


def picture(form: str, mode: str, dice: random.Random) -> bytes:
    """A 7 drawn on paper of 20 to 200 pixels a side, as a file."""
    wide, high = dice.randint(20, 200), dice.randint(20, 200)
    image = Image.new("L", (wide, high), 255)
    corners = [(wide * 0.2, high * 0.2), (wide * 0.8, high * 0.2), (wide * 0.4, high * 0.8)]
    ImageDraw.Draw(image).line(corners, fill=0, width=max(2, wide // 12))
    image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def spoiled(content: bytes, dice: random.Random, other: bytes = b"") -> bytes:
    """`content` after one accident, now and then after several; `other`: whose header it may be given."""
    accidents: tuple[Callable[[bytes], bytes], ...] = (
        lambda c: c[: dice.randrange(len(c) + 1)],
        lambda c: _turned(c, dice, dice.choice((1, 3, 30))),
        lambda c: _turned(c[:64], dice, 2) + c[64:],  # in the header
        lambda c: other[:32] + c[32:],
        lambda c: _placed(c, dice, bytes(dice.choice((8, 200)))),
        lambda c: _placed(c, dice, dice.randbytes(16)),
        lambda c: _placed(c, dice, b"\xff" * 4),  # as a length, four thousand million
        lambda c: c + dice.randbytes(dice.randrange(1, 400)),
        lambda c: c[dice.randrange(len(c) + 1) :],
        lambda c: dice.randbytes(dice.randrange(600)),
    )
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        content = dice.choice(accidents)(content)
    return content


def _turned(content: bytes, dice: random.Random, count: int) -> bytes:
    spoilt = bytearray(content)
    for _ in range(count if spoilt else 0):
        spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
    return bytes(spoilt)


def _placed(content: bytes, dice: random.Random, piece: bytes) -> bytes:
    at = dice.randrange(len(content) + 1)
    return content[:at] + piece + content[at + len(piece) :]


def pictures(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(name, content) of spoiled pictures; the name's ending is right, wrong or none."""
    dice = random.Random(seed)
    kinds = [(form, mode) for form, modes in FORMATS.items() for mode in modes]
    for number in range(count):
        form, mode = kinds[number % len(kinds)]
        content = picture(form, mode, dice)
        content = spoiled(content, dice, picture(*dice.choice(kinds), dice))
        ending = dice.choice((form.lower(), "png", "jpg", "tif", "txt", ""))
        yield f"{number}.{ending}".rstrip("."), content


def bombs(share: float) -> dict[str, bytes]:
    """Small files that unpack to far more than any picture of a digit: to `share` of a thousand million pixels."""
    found = {}
    for form, mode in (("PNG", "1"), ("PNG", "RGBA"), ("GIF", "P"), ("TIFF", "RGB"), ("WEBP", "RGB")):
        file = io.BytesIO()
        side = int((share * 1e9) ** 0.5)
        side = min(side, 16_383) if form == "WEBP" else side  # which is all that it can be
        options = {"compression": "tiff_deflate"} if form == "TIFF" else {}
        Image.new(mode, (side, side)).save(file, form, **options)
        found[f"{form} {mode}"] = file.getvalue()
    return found


def arrays(count: int, seed: int = 0) -> Iterator[tuple[str, np.ndarray | torch.Tensor]]:
    """(what it is, array or tensor) of all shapes, types, layouts and values, of which few are a picture's."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        shape = ARRAY_SHAPES[number % len(ARRAY_SHAPES)] or tuple(draw.integers(1, 7, size=draw.choice((2, 3))))
        values = draw.random(shape) * 10.0 ** draw.integers(-3, 6) * draw.choice((1, 1, 1, -1))
        if values.size and draw.random() < 0.2:
            values.flat[draw.integers(values.size)] = draw.choice((np.nan, np.inf, -np.inf, 1e308))
        if number % 3:
            array = _array(values, ARRAY_TYPES[draw.integers(len(ARRAY_TYPES))], draw)
        else:
            array = _tensor(values, TENSOR_TYPES[draw.integers(len(TENSOR_TYPES))], draw)
        yield f"{type(array).__name__} of {array.dtype}, {tuple(array.shape)}, number {number}", array


ARRAY_SHAPES = [
    (28, 28),
    (1, 28, 28),
    (28, 28, 1),
    (3, 28, 28),
    (28, 28, 3),
    (28, 28, 4),
    (4, 28, 28),
    (0, 5),
    (5,),
    (),
]
ARRAY_SHAPES += [(2, 3, 28, 28), (28, 28, 2), (1, 784), (300, 1), (), None, None, None]
ARRAY_TYPES = ["u1", "i1", "i8", "u8", "u2", "f2", "f4", "f8", "g", "?", "c8", "O", "U3", "S2", "M8[s]", "m8[s]"]
TENSOR_TYPES = [
    torch.uint8,
    torch.int32,
    torch.bool,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.complex64,
]


def _array(values: np.ndarray, kind: str, draw: np.random.Generator) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            array = values.astype(kind)
        except (ValueError, OverflowError):  # not every number is a date
            array = np.full(values.shape, 7, object)
    layouts = [array, array.T, np.flip(array), np.asfortranarray(array), np.broadcast_to(array, (2, *array.shape))[0]]
    if array.dtype.kind in "iuf":
        layouts += [array.astype(array.dtype.newbyteorder()), np.ma.masked_array(array, array > 0.5)]
    return layouts[draw.integers(len(layouts))]


def _tensor(values: np.ndarray, kind: torch.dtype, draw: np.random.Generator) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of complex numbers' other half
        tensor = torch.from_numpy(values).to(kind)
        floats = tensor.float()
    layouts = [tensor, tensor.to("meta"), tensor.transpose(0, -1) if tensor.ndim else tensor]
    layouts += [floats.requires_grad_(), floats.detach().to_sparse(), tensor.expand(1, *tensor.shape)]
    return layouts[draw.integers(len(layouts))]


def largest() -> dict[str, bytes]:
    """As many pixels as are read."""
    photograph, drawing = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8000, 6000)).save(photograph, "JPEG", progressive=True, subsampling=0)
    Image.new("RGB", (4000, 4000)).save(drawing, "WEBP")
    return {**bombs(0.0359), "JPEG RGB": photograph.getvalue(), "WEBP RGB": drawing.getvalue()}


def no_pictures() -> dict[str, bytes]:
    """What pages may be sent in a picture's place."""
    script = b"<script>alert(1)</script>"
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='28' height='28'>" + script + b"</svg>"
    html = b"<!DOCTYPE html>" + script
    return {
        "a.svg": svg,
        "b.png": svg,
        "c.html": html,
        "d.jpg": html,
        "e.png": b"",
        "f.eps": b"%!PS-Adobe-3.0 EPSF-3.0",
    }


def idx(images: np.ndarray, labels: np.ndarray) -> tuple[bytes, bytes]:
    """(N, 28, 28) uint8 and (N,) → the two files in MNIST's own format."""
    head = struct.pack(">IIII", 0x803, *images.shape), struct.pack(">II", 0x801, len(labels))
    return head[0] + images.astype(np.uint8).tobytes(), head[1] + labels.astype(np.uint8).tobytes()


def datasets(folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """`folder`, again and again, with 12 digits as IDX, as IDX in gzip, or as Kaggle's CSV, and one file spoiled."""
    dice, draw = random.Random(seed), np.random.default_rng(seed)
    names = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
    for number in range(count):
        for file in folder.iterdir():
            file.unlink()
        images, labels = draw.integers(256, size=(12, 28, 28)), draw.integers(10, size=12)
        if number % 3 == 2:
            head = "label," + ",".join(f"pixel{place}" for place in range(784))
            rows = [
                f"{label}," + ",".join(map(str, image.ravel())) for image, label in zip(images, labels, strict=True)
            ]
            files = {"train.csv": _with_words("\n".join([head, *rows]) + "\n", dice).encode()}
        else:
            files = dict(zip(names, idx(images, labels), strict=True))
        victim = dice.choice(list(files))
        if number % 3 == 1:  # the accident before the packing, or after it
            before = dice.random() < 0.5
            files = {
                f"{name}.gz": gzip.compress(spoiled(content, dice) if before and name == victim else content, 1)
                for name, content in files.items()
            }
            if not before:
                files[f"{victim}.gz"] = spoiled(files[f"{victim}.gz"], dice)
        else:
            files[victim] = spoiled(files[victim], dice)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        yield folder


def data_bombs(folder: Path) -> Iterator[Path]:
    """`folder` with a pair of IDX files of which one announces, or unpacks to, more than there should be."""
    images, labels = idx(np.zeros((12, 28, 28)), np.zeros(12))
    packer = zlib.compressobj(9, wbits=31)
    gigabyte = b"".join([packer.compress(images), *(packer.compress(bytes(2**24)) for _ in range(64)), packer.flush()])
    name = "train-images-idx3-ubyte"
    files = [(name, struct.pack(">IIII", 0x803, *shape)) for shape in ((2**31, 2**31, 4), (2**32 - 1,) * 3)]
    files += [(f"{name}.gz", gzip.compress(content)) for _, content in files]
    for file, content in [*files, (f"{name}.gz", gigabyte)]:
        (folder / "train-labels-idx1-ubyte").write_bytes(labels)
        (folder / file).write_bytes(content)
        yield folder
        (folder / file).unlink()


def _with_words(table: str, dice: random.Random) -> str:
    """A table in which one cell is no grey level."""
    cells = table.split(",")
    cells[dice.randrange(len(cells))] = dice.choice(("", "-1", "256", "nan", "1e999", "seven", "0x7", '"', "9" * 400))
    return ",".join(cells)


class Canary:
    """A pickle that would write a file, were it opened as most programs open pickles."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "it ran")


def checkpoints(valid: Path, folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """Checkpoints like `valid`, one at a time: spoiled weights, spoiled cards, lying headers."""
    dice = random.Random(seed)
    with safetensors.safe_open(valid, "pt") as file:
        card = file.metadata()["card"].encode()
    tensors = load_file(valid)
    weights = save(tensors)  # without a card, so that no checksum stands before them
    path = folder / "it.safetensors"
    for number in range(count):
        kind = number % 4
        if kind == 0:
            path.write_bytes(spoiled(weights, dice))
        elif kind == 1:
            path.write_bytes(_with_header(weights, dice))
        else:
            changed = spoiled(card, dice) if kind == 2 else _changed(card, dice)
            path.write_bytes(save(tensors, {"card": changed.decode(errors="replace")}))
        yield path


def _with_header(weights: bytes, dice: random.Random) -> bytes:
    """Safetensors whose header says other shapes, types, places or lengths than there are."""
    length = struct.unpack("<Q", weights[:8])[0]
    header = json.loads(weights[8 : 8 + length])
    name = dice.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    lie = dice.randrange(6)
    if lie == 0:
        entry["shape"] = [dice.choice((0, 7, 2**40, -1))]
    elif lie == 1:
        entry["dtype"] = dice.choice(("F64", "I8", "F8_E4M3", "Q4"))
    elif lie == 2:
        entry["data_offsets"] = [dice.choice((0, 2**50)), dice.choice((4, 2**60))]
    elif lie == 3:
        header[f"{name}/../x"] = header.pop(name)
    elif lie == 4:
        header = {name: entry}
    text = json.dumps(header).encode()
    size = 2**62 if lie == 5 else len(text)
    return struct.pack("<Q", size) + text + weights[8 + length :]


def _changed(card: bytes, dice: random.Random) -> bytes:
    """A card with one entry replaced by something else that JSON can hold."""
    changed = json.loads(card)
    key = dice.choice([key for key in changed if key != "weights_md5"])
    changed[key] = dice.choice((None, 7, -1.5, "x" * 1000, [], {}, [[]], {"a": {"b": [1]}}, True))
    return json.dumps(changed).encode()


def pickles(folder: Path, canary: Path) -> list[Path]:
    """Checkpoints of other programs that would run code."""
    files = {"plain.pth": pickle.dumps(Canary(canary)), "state.pt": pickle.dumps({"conv1.weight": Canary(canary)})}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    torch.save({"conv1.weight": Canary(canary)}, folder / "zipped.pth")
    return [folder / name for name in (*files, "zipped.pth")]
