"""A network's answers to many images are those of a plain loop, whatever the batches, the mode and the precision."""

import pytest
import torch
from torch import nn

import mnistlab as ml


def one_by_one(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The logits of each image by itself, computed in the weights' precision."""
    weight = next(model.parameters())
    with torch.no_grad():
        return torch.cat([model.eval()(ml.normalise(image[None]).to(weight.dtype)) for image in images])


@pytest.fixture(scope="module")
def images(test_digits) -> torch.Tensor:
    return test_digits.images[:23]


@pytest.mark.parametrize("kind", [ml.CNN, ml.LeNet, ml.MLP])
def test_answers_are_those_of_a_plain_loop(kind, images):
    model = kind(seed=0)
    for batch_size in (1, 7, 1000):  # 7 leaves a last batch of two
        answers = ml.logits(model, images, batch_size=batch_size)
        assert answers.shape == (23, 10) and answers.dtype == torch.float32
        torch.testing.assert_close(answers, one_by_one(model, images), atol=1e-4, rtol=1e-4)


def test_double_weights_give_double_answers(images):
    model = ml.CNN(seed=0).double()
    answers = ml.logits(model, images)
    assert answers.dtype == torch.float64
    torch.testing.assert_close(answers, one_by_one(model, images), atol=1e-12, rtol=1e-12)


def test_bfloat16_is_close_and_comes_back_as_float32(images):
    model = ml.CNN(seed=0)
    exact, answers = ml.logits(model, images), ml.logits(model, images, precision="bfloat16")
    assert answers.dtype == torch.float32
    assert 0 < (answers - exact).abs().max() < 0.05 * exact.abs().max()


def test_every_layer_has_its_mode_again(images):
    model = ml.CNN(seed=0).train()
    model.norm1.eval()
    modes = [layer.training for layer in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = ml.logits(model, images), ml.logits(model, images)
    assert torch.equal(first, second), "dropout was at work"
    assert [layer.training for layer in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_mode_is_given_back_after_an_error(images):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3, 10)).train()
    with pytest.raises(RuntimeError):
        ml.logits(model, images)
    assert model.training and model[1].training


def test_answers_are_ordinary_tensors_without_gradients(images):
    answers = ml.logits(ml.CNN(seed=0), images)
    assert not answers.requires_grad and not answers.is_inference()
    scale = torch.ones(10, requires_grad=True)
    (answers * scale).sum().backward()  # which a tensor of inference mode refuses
    assert torch.equal(scale.grad, answers.sum(0))


def test_no_images_have_no_answers_and_a_network_needs_no_weights(images):
    assert ml.logits(ml.CNN(seed=0), images[:0]).shape == (0, 10)
    plain = nn.Sequential(nn.AdaptiveAvgPool2d((1, 10)), nn.Flatten())
    torch.testing.assert_close(ml.logits(plain, images), plain(ml.normalise(images)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no second device here")
def test_answers_lie_where_the_images_lie(images):
    model = ml.CNN(seed=0)
    expected = ml.logits(model, images)
    answers = ml.logits(model.cuda(), images)
    assert answers.device.type == "cpu" and next(model.parameters()).is_cuda
    torch.testing.assert_close(answers, expected, atol=1e-3, rtol=1e-3)
