"""Several processes that train one network together, each on its share of every batch; torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class Workers(NamedTuple):
    """Which of how many processes this is: `rank` 0 … count − 1. Rank 0 writes the files."""

    rank: int
    count: int


@contextmanager
def together() -> Iterator[Workers]:
    """Inside the block, the processes that torchrun started can talk; a process on its own is rank 0 of 1.

    They talk over NCCL where each has a GPU of its own, over gloo otherwise.
    """
    if not dist.is_torchelastic_launched():
        yield Workers(0, 1)
        return
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, count = next(dist.rendezvous("env://"))
    if os.environ["GROUP_WORLD_SIZE"] == "1":
        # After a restart, the addresses of those who were killed are still in torchrun's store, and gloo would call
        # them. On several machines the attempts are counted apart, so that they give no common name.
        store = dist.PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group("nccl" if on_gpus else "gloo", store=store, rank=rank, world_size=count)
    try:
        yield workers()
    finally:
        dist.destroy_process_group()


def workers() -> Workers:
    """This process among those that `together` has brought together."""
    if not (dist.is_available() and dist.is_initialized()):
        return Workers(0, 1)
    return Workers(dist.get_rank(), dist.get_world_size())


def total(numbers: Tensor) -> Tensor:
    """The sum of all workers' `numbers`, which must have one shape; they themselves where there is one worker."""
    if workers().count > 1:
        dist.all_reduce(numbers)
    return numbers


def from_first(thing: Any) -> Any:
    """What rank 0 calls this with, on every rank."""
    box = [thing]
    if workers().count > 1:
        dist.broadcast_object_list(box)
    return box[0]


@contextmanager
def shared_norms(model: nn.Module) -> Iterator[None]:
    """Inside the block, batch norms in train mode use the mean and variance of the whole batch, all workers' shares.

    Without it, every worker would normalise by its share alone, and two workers would train another network than one.
    (PyTorch's SyncBatchNorm does the same, but on GPUs only.)
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    norms = norms if workers().count > 1 else []
    for norm in norms:
        norm.forward = partial(_normalised, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Total(torch.autograd.Function):
    """`total`, through which gradients flow: each worker's share counts in the losses of all."""

    @staticmethod
    def forward(context: Any, numbers: Tensor) -> Tensor:
        return total(numbers.clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return total(gradient.clone())


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, given: Tensor) -> Tensor:
    """(N, C) or (N, C, H, W), this worker's share → the same, normalised over all shares."""
    if not norm.training:
        return F.batch_norm(given, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    exact = given.to(norm.running_mean.dtype)
    cells = exact.transpose(1, -1).flatten(0, -2)  # (all cells of a channel, C)
    sums = _Total.apply(torch.cat([cells.sum(0), cells.new_tensor([len(cells)])]))
    count = sums[-1].item()
    mean = sums[:-1] / count
    apart = cells - mean
    variance = _Total.apply(apart.square().sum(0)) / count
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    places = (1, -1, *(1,) * (given.ndim - 2))
    return ((exact - mean.view(places)) * scale.view(places) + norm.bias.view(places)).to(given.dtype)
