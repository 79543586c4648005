"""Adversarial training: the direction by hand, its norm, what it leaves alone, and what it costs."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from segkit.models import DeepMedic, UNet3D
from segkit.models.base import Network
from segkit.regularizers.adversarial import Adversarial, moved
from segkit.regularizers.base import regularizers

LESION = torch.tensor([False, True])
RNG = torch.Generator()
THREE_LATTICES = DeepMedic(widths=(3, 4, 5), context_strides=(3, 5), residual_after=(3,), hidden=(7, 6), dropout=0.0)
LEVELS = UNet3D(widths=(4, 6))
SETTINGS = [pytest.param(THREE_LATTICES, id="deepmedic"), pytest.param(LEVELS, id="unet3d")]


class Linear(Network):
    """logits = weight [C, M] x, voxel by voxel."""

    def __init__(self, weight) -> None:
        super().__init__()
        weight = torch.tensor(weight)
        self.classifier = nn.Conv3d(weight.shape[1], weight.shape[0], 1, bias=False)
        self.classifier.weight.data = weight[..., None, None, None]

    def features(self, image):
        return image[0]


def built(settings, classes=2, seed=0) -> Network:
    torch.manual_seed(seed)
    return settings.build(2, classes).train()


def batch(network, classes=2, count=3, seed=0):
    """Image on all lattices and target [B, C, 12, 12, 12], the last class in the first sample's corner alone."""
    rng = torch.Generator().manual_seed(seed)
    image = tuple(torch.randn(count, 2, *lattice.shape, generator=rng) for lattice in network.lattices((12, 12, 12)))
    labels = torch.randint(classes - 1, (count, 12, 12, 12), generator=rng)
    labels[0, :4, :5, :6] = classes - 1
    return image, one_hot(labels, classes).movedim(-1, 1).float()


def last_is_rare(classes):
    return torch.arange(classes) == classes - 1


def view(settings, network, image, target, rare=LESION):
    images, same = settings.view(network, image, target, rare, RNG)
    assert same is target
    return images


def norms(moved_images, image):
    """[lattices, B]: how far each sample was moved on each lattice."""
    steps = [(there.double() - here.double()).flatten(1) for there, here in zip(moved_images, image, strict=True)]
    return torch.stack([step.norm(dim=1) for step in steps])


def test_by_default_rare_voxels_move_the_image_by_ten():
    assert regularizers.build("adversarial") == Adversarial(magnitude=10.0, asymmetric=True)


def test_the_direction_of_a_linear_network_by_hand():
    # two voxels, background and lesion, of two channels; the lesion's logit is 3 a + 4 b. At the lesion the gradient is (p - 1) (3, 4),
    # so it moves against (3, 4), by 5 (0.6, 0.8); the background does not move
    image = torch.tensor([[1.0, 2.0], [0.5, 0.25]]).view(1, 2, 2, 1, 1)
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    (there,) = view(Adversarial(magnitude=5.0), Linear([[0.0, 0.0], [3.0, 4.0]]), (image,), target)
    torch.testing.assert_close(there.view(2, 2), torch.tensor([[1.0, 2.0 - 3.0], [0.5, 0.25 - 4.0]]))
    assert torch.equal(there[..., 0, 0, 0], image[..., 0, 0, 0])


def test_the_symmetric_direction_of_a_linear_network_by_hand():
    # at logits (0, 0) the background's gradient is +1/2 and the lesion's -1/2: together (1, -1) / sqrt 2
    target = torch.eye(2).view(1, 2, 2, 1, 1)
    (there,) = view(Adversarial(magnitude=2.0, asymmetric=False), Linear([[0.0], [1.0]]), (torch.zeros(1, 1, 2, 1, 1),), target)
    torch.testing.assert_close(there.flatten(), torch.tensor([math.sqrt(2), -math.sqrt(2)]))


def test_a_gradient_that_is_negative_everywhere_keeps_its_sign():
    target = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1).expand(1, 2, 3, 3, 1)
    (there,) = view(Adversarial(magnitude=6.0), Linear([[0.0], [1.0]]), (torch.zeros(1, 1, 3, 3, 1),), target)
    torch.testing.assert_close(there, torch.full((1, 1, 3, 3, 1), -2.0))  # 9 voxels share 6^2


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1.0, 1e30])
def test_the_size_of_a_gradient_does_not_matter(scale):
    gradient = scale * torch.tensor([3.0, -4.0]).view(1, 2, 1, 1, 1)
    step = moved(torch.zeros_like(gradient), gradient, 10.0, torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(step.flatten(), torch.tensor([6.0, -8.0]), rtol=1e-2 if scale < 1e-38 else 1e-6, atol=0)


def test_a_sample_without_a_gradient_stays_and_one_that_is_not_finite_is_not_hidden():
    x, everybody = torch.randn(2, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0)), torch.ones(2, 1, 1, 1, 1, dtype=torch.bool)
    gradient = torch.zeros_like(x)
    gradient[1, 0, 0, 0, 0] = torch.nan
    there = moved(x, gradient, 10.0, everybody)
    assert torch.equal(there[0], x[0])
    assert there[1].isnan().any()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("autocast", [True, False])
def test_every_sample_moves_by_the_magnitude_on_every_lattice(settings, classes, autocast):
    network = built(settings, classes)
    image, target = batch(network, classes)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        there = view(Adversarial(magnitude=3.0, asymmetric=False), network, image, target, last_is_rare(classes))
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in there)
    torch.testing.assert_close(norms(there, image), torch.full((len(image), 3), 3.0, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("classes", [2, 4])
def test_samples_without_rare_voxels_stay_to_the_bit(settings, classes):
    # batch normalization does carry the first sample's loss to them
    network = built(settings, classes)
    image, target = batch(network, classes)
    there = view(Adversarial(), network, image, target, last_is_rare(classes))
    for x, new in zip(image, there, strict=True):
        assert torch.equal(new[1:].view(torch.int32), x[1:].view(torch.int32))
    torch.testing.assert_close(norms(there, image)[:, 0], torch.full((len(image),), 10.0, dtype=torch.float64), rtol=1e-5, atol=0)


def test_a_sample_that_is_all_ignored_stays_where_it_is():
    network = built(THREE_LATTICES)
    image, target = batch(network)
    target[1] = 0
    there = view(Adversarial(asymmetric=False), network, image, target)
    assert all(torch.equal(new[1], x[1]) for x, new in zip(image, there, strict=True))
    assert (norms(there, image)[:, [0, 2]] > 9).all()


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_climbs_as_steeply_as_the_gradient_is_long(settings):
    network = built(settings).double()
    image, target = batch(network)
    image, labels = tuple(x.double() for x in image), target.argmax(1)
    labels[labels == 0] = -100  # torch's name for an ignored voxel

    def loss(at):
        return cross_entropy(network(at), labels, reduction="sum", ignore_index=-100)

    leaves = tuple(x.clone().requires_grad_() for x in image)
    steepness = sum(gradient[0].norm() for gradient in torch.autograd.grad(loss(leaves), leaves))
    risen = loss(view(Adversarial(magnitude=1e-5), network, image, target)) - loss(image)
    torch.testing.assert_close(risen, 1e-5 * steepness, rtol=1e-3, atol=0)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("classes", [2, 4])
def test_with_all_classes_rare_the_asymmetric_view_is_the_symmetric_one(settings, classes):
    network = built(settings, classes)
    image, target = batch(network, classes)
    rare = torch.ones(classes, dtype=torch.bool)
    pairs = zip(*(view(Adversarial(asymmetric=asymmetric), network, image, target, rare) for asymmetric in (True, False)), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize("classes", [2, 4])
def test_without_a_rare_class_the_asymmetric_view_is_the_clean_batch(classes):
    network = built(THREE_LATTICES, classes)
    image, target = batch(network, classes)
    there = view(Adversarial(), network, image, target, torch.zeros(classes, dtype=torch.bool))
    assert all(torch.equal(new, x) for x, new in zip(image, there, strict=True))


@pytest.mark.parametrize("asymmetric", [True, False])
def test_magnitude_zero_is_the_clean_batch(asymmetric):
    network = built(THREE_LATTICES)
    image, target = batch(network)
    there = view(Adversarial(magnitude=0.0, asymmetric=asymmetric), network, image, target)
    assert all(torch.equal(new, x) for x, new in zip(image, there, strict=True))


def test_the_flag_alone_makes_it_symmetric():
    network = built(LEVELS)
    image, target = batch(network)
    (first,), (second,) = (view(Adversarial(asymmetric=False), network, image, target, torch.full((2,), rare)) for rare in (True, False))
    assert torch.equal(first, second)


@pytest.mark.parametrize("settings", SETTINGS)
def test_parameters_and_running_statistics_are_left_alone(settings):
    network = built(settings)
    image, target = batch(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    there = view(Adversarial(), network, image, target)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(x.requires_grad for x in (*image, *there))
    network(image)
    counters = [value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")]
    assert all(counter == 1 for counter in counters)
    assert bool(counters) is (settings is THREE_LATTICES)


def test_gradients_that_are_there_already_stay():
    network = built(LEVELS)
    image, target = batch(network)
    network(image).sum().backward()
    before = [parameter.grad.clone() for parameter in network.parameters()]
    view(Adversarial(), network, image, target)
    assert all(torch.equal(parameter.grad, old) for parameter, old in zip(network.parameters(), before, strict=True))


def test_it_costs_one_forward_pass_of_the_whole_batch():
    network, seen = built(THREE_LATTICES), []
    network.classifier.register_forward_hook(lambda module, inputs, logits: seen.append(len(logits)))
    view(Adversarial(), network, *batch(network))
    assert seen == [3]


def test_channels_last_stays_channels_last():
    network, shown = built(LEVELS).to(memory_format=torch.channels_last_3d), []
    network.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0][0]))
    image, target = batch(network)
    (there,) = view(Adversarial(), network, (image[0].contiguous(memory_format=torch.channels_last_3d),), target)
    assert all(x.is_contiguous(memory_format=torch.channels_last_3d) for x in (shown[0], there))
    (plain,) = view(Adversarial(), network, image, target)
    torch.testing.assert_close(there, plain, rtol=0, atol=1e-4)


def test_dropout_draws_masks_for_the_direction():
    network = built(UNet3D(widths=(4, 6), dropout=0.5))
    image, target = batch(network)
    views = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        views.append(view(Adversarial(), network, image, target)[0])
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_a_negative_magnitude_is_refused():
    with pytest.raises(ValidationError):
        Adversarial(magnitude=-1.0)
