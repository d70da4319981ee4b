import copy

import pytest
import torch
from torch import nn

import mnistlab as ml
from mnistlab.training.optimizers import Muon, make_optimizers, orthogonal

SHAPES = [(16, 40), (40, 16), (24, 24)]


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_moves_the_singular_values_alone(shape):
    """The iteration on matrices, against its polynomial applied to every singular value of an SVD."""
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, sizes, v = torch.linalg.svd(matrix, full_matrices=False)
    moved = sizes / sizes.square().sum().sqrt()
    for _ in range(5):
        moved = 3.4445 * moved - 4.775 * moved**3 + 2.0315 * moved**5
    torch.testing.assert_close(orthogonal(matrix), u @ moved.diag() @ v, rtol=1e-9, atol=1e-9)
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))  # no direction, and no NaN


def test_singular_values_come_near_one():
    sizes = torch.linspace(0.01, 1, 50, dtype=torch.float64)
    for size in sizes:  # a matrix whose norm is 1, and one of whose two singular values is `size`
        matrix = torch.diag(torch.stack([size, (1 - size**2).sqrt()]))
        assert 0.68 < orthogonal(matrix)[0, 0] < 1.14


@pytest.mark.parametrize("shape", SHAPES)
def test_in_bfloat16_it_is_pytorchs(shape):
    draw = torch.Generator().manual_seed(1)
    ours = nn.Parameter(torch.randn(shape, generator=draw))
    theirs = copy.deepcopy(ours)
    first = Muon([ours], 0.1, 0.6, torch.bfloat16)
    second = torch.optim.Muon([theirs], lr=0.1, momentum=0.6, weight_decay=0.0)
    for _ in range(3):
        ours.grad = torch.randn(shape, generator=draw)
        theirs.grad = ours.grad.clone()
        first.step()
        second.step()
        assert torch.equal(ours, theirs)


def test_a_convolution_moves_as_the_matrix_of_its_filters():
    layer = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    layer.weight.grad = torch.randn_like(layer.weight)
    rows = nn.Parameter(layer.weight.detach().permute(0, 2, 3, 1).reshape(5, 27).clone())
    rows.grad = layer.weight.grad.permute(0, 2, 3, 1).reshape(5, 27).clone()
    for weight in (layer.weight, rows):
        Muon([weight], 0.1, 0.6, torch.float32).step()
    assert torch.equal(layer.weight.permute(0, 2, 3, 1).reshape(5, 27), rows)


def test_a_weight_without_a_gradient_stays():
    weight = nn.Parameter(torch.ones(2, 3))
    Muon([weight], 0.1, 0.6, torch.float32).step()
    assert torch.equal(weight, torch.ones(2, 3))


def test_muon_computes_in_the_precision_of_the_run():
    for precision in ("bfloat16", "float32", "float64"):
        muon, _ = make_optimizers(ml.CNN(), ml.TrainConfig(precision=precision))
        assert isinstance(muon, Muon) and muon.number == getattr(torch, precision)
