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
    """Which of how many processes this is: `rank` 0 … size − 1. Rank 0 writes the files."""

    rank: int
    size: int


@contextmanager
def together() -> Iterator[Workers]:
    """Inside the block, the processes that torchrun started can talk; a process on its own is rank 0 of 1.

    They talk over NCCL where each has a GPU of its own, over gloo otherwise.
    """
    if not dist.is_torchelastic_launched():
        yield Workers(0, 1)
        return
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    on_gpus = torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(rendezvous("env://"))
    if os.environ["GROUP_WORLD_SIZE"] == "1":
        # After a restart, the addresses of the killed processes are still in torchrun's store, and gloo would call
        # them. Several machines count their attempts separately, so there the count is no name that all share.
        store = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group("nccl" if on_gpus else "gloo", store=store, rank=rank, world_size=size)
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
    if workers().size > 1:
        dist.all_reduce(numbers)
    return numbers


def from_first(thing: Any) -> Any:
    """What rank 0 calls this with, on every rank."""
    box = [thing]
    if workers().size > 1:
        dist.broadcast_object_list(box)
    return box[0]


@contextmanager
def shared_norms(model: nn.Module) -> Iterator[None]:
    """Inside the block, batch norms in train mode use the mean and variance of the whole batch, all workers' shares.

    Without it, every worker would normalise by its share alone, and two workers would train another network than one.
    (PyTorch's SyncBatchNorm does the same, but on GPUs only.)
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    norms = norms if workers().size > 1 else []
    for norm in norms:
        norm.forward = partial(_normalised, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, given: Tensor) -> Tensor:
    """(N, C) or (N, C, H, W), this worker's share → the same, normalised over all shares."""
    if not norm.training:
        return F.batch_norm(given, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    from torch.distributed.nn.functional import all_reduce  # the one through which gradients flow

    means, variances, momentum = norm.running_mean, norm.running_var, norm.momentum
    assert means is not None and variances is not None and norm.num_batches_tracked is not None and momentum is not None
    exact = given.to(means.dtype)
    cells = exact.transpose(1, -1).flatten(0, -2)  # (all cells of a channel, C)
    sums = all_reduce(torch.cat([cells.sum(0), cells.new_tensor([len(cells)])]))
    count = sums[-1].item()
    mean = sums[:-1] / count
    variance = all_reduce((cells - mean).square().sum(0)) / count
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        means.lerp_(mean, momentum)
        variances.lerp_(variance * (count / (count - 1)), momentum)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    places = (1, -1, *(1,) * (given.ndim - 2))
    result: Tensor = (exact - mean.view(places)) * scale.view(places) + norm.bias.view(places)
    return result.to(given.dtype)
