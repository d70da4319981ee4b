"""What others run, in the form in which they run it: their networks, loaders, optimizers and defaults.

Loops are functions to call with a number of batches, which train on the next so many and return how many digits
those held; with None they return their errors on the test set. Nothing here is slowed down, and nothing is borrowed
from mnistlab but the reference network and the folder of MNIST.
"""

import os
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import mnistlab as ml

Loop = Callable[[int | None], int]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _mnist(train: bool = True) -> datasets.MNIST:
    root = os.environ.get("MNISTLAB_DATA") or ml.home() / "data"
    steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    return datasets.MNIST(root, train=train, transform=transforms.Compose(steps))


def _endless(loader: DataLoader) -> Iterator:
    while True:
        yield from loader


def _loop(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable, loader: DataLoader) -> Loop:
    batches = _endless(loader)

    def loop(count: int | None) -> int:
        if count is None:
            return _errors(model)
        model.train()
        for _ in range(count):
            images, labels = next(batches)
            images, labels = images.to(DEVICE), labels.to(DEVICE)
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()
        return count * loader.batch_size

    return loop


def _errors(model: nn.Module) -> int:
    model.eval()
    with torch.no_grad():
        batches = DataLoader(_mnist(train=False), batch_size=1000)
        return sum(int((model(images.to(DEVICE)).argmax(1).cpu() != labels).sum()) for images, labels in batches)


def usual_loop() -> Loop:
    """The reference network as most tutorials would train it: DataLoader, float32, Adam, batches of 128."""
    model = ml.CNN().to(DEVICE)
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.Dropout):
            setattr(model, name, nn.Dropout(layer.p))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return _loop(model, optimizer, F.cross_entropy, DataLoader(_mnist(), batch_size=128, shuffle=True))


def pytorch_example() -> Loop:
    """The network and settings of pytorch/examples/mnist: 1.2 million parameters, Adadelta, batches of 64."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
        nn.LogSoftmax(dim=1),
    ).to(DEVICE)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    return _loop(model, optimizer, F.nll_loss, DataLoader(_mnist(), batch_size=64))


def fastest_published() -> tuple[Callable[[], None], Callable[[], int]]:
    """The last step of tuomaso/train_mnist_fast: a network of 216,000 parameters, one epoch, batches of 256.

    Everything lies in memory as tensors, in the files' order. Returns (train, count_test_errors).
    """
    (images, labels), (test_images, test_labels) = (_tensors(train) for train in (True, False))

    def network() -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 24, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(800, 256),
            nn.ReLU(),
            nn.Linear(256, 10),
            nn.LogSoftmax(dim=1),
        ).to(DEVICE)

    trained: list[nn.Module] = []

    def train() -> None:
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.7, 0.9))
        steps = -(-len(images) // 256)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps, cycle_momentum=False)
        for start in range(0, len(images), 256):
            optimizer.zero_grad()
            F.nll_loss(model(images[start : start + 256]), labels[start : start + 256]).backward()
            optimizer.step()
            scheduler.step()
        trained[:] = [model]

    def errors() -> int:
        with torch.no_grad():
            return int((trained[0].eval()(test_images).argmax(1) != test_labels).sum())

    return train, errors


def _tensors(train: bool) -> tuple[Tensor, Tensor]:
    data = _mnist(train)
    images = (data.data[:, None].float() / 255 - 0.1307) / 0.3081
    return images.to(DEVICE), data.targets.to(DEVICE)
