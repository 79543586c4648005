"""A step of the papers' asymmetric combination, from the recipe to the new weights: every number by its formula, written out here.

The first foreground class is as common as the background; what is meant for the rare class alone must not reach it.
"""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from segkit.engine.cohort import gather, make_loader
from segkit.engine.console import Console
from segkit.engine.progress import Progress
from segkit.engine.step import step
from segkit.recipe import Recipe
from segkit.regularizers.base import host_draws
from segkit.sampling.loader import Loader

CPU, QUIET = torch.device("cpu"), Console("quiet")
EDEMA, CORE = 1, 2
RARE = torch.tensor([False, False, True]).view(1, 3, 1, 1, 1)
GAMMA, MARGIN, MAGNITUDE, MIX_MARGIN, RATE = 2.0, 0.3, 10.0, 0.2, 0.1
COMBINATION = {
    "dataset.classes": {"edema": 2, "tumor_core": [1, 4]},
    "dataset.rare_classes": ["tumor_core"],
    "dataset.split": {"test": 1, "validation": 0},
    "sampling.patch_shape": [9, 9, 9],
    "sampling.proportions": {"background": 0.3, "foreground": 0.7},
    "sampling.augment": {"flip": ["x"], "intensity": {"shift": 0.05, "scale": 0.01}, "asymmetric": True, "other_probability": 0.0},
    "model": {"name": "deepmedic_tiny", "dropout": 0.0},
    "losses": [{"name": "focal", "gamma": GAMMA, "asymmetric": True}],
    "regularizers": [
        {"name": "large_margin", "margin": MARGIN, "asymmetric": True},
        {"name": "adversarial", "magnitude": MAGNITUDE, "asymmetric": True},
        {"name": "mixup", "alpha": 1.0, "margin": MIX_MARGIN, "asymmetric": True},
    ],
    "train.batch_size": 4,
    "train.optimizer": {"name": "sgd", "learning_rate": RATE, "momentum": 0.0, "weight_decay": 0.0},
}


@pytest.fixture
def begun(tiny) -> tuple[Recipe, Progress, Loader]:
    """The combination as a training begins it."""
    recipe = tiny(**COMBINATION)
    progress = Progress.begin(recipe, CPU)
    return recipe, progress, make_loader(gather(recipe, progress.network, QUIET), recipe, progress.network, CPU, QUIET)


def one_hot(label: Tensor) -> Tensor:
    return torch.stack([label == index for index in range(3)], dim=1).float()


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """-(1/N) sum of F_j y_j log q_j: q of logits from which the rare class's margin is taken, F_j = 1 if rare, else (1 - q_j)^gamma."""
    log_q = (logits - MARGIN * target * RARE).double().log_softmax(1)
    factor = torch.where(RARE, 1.0, (1 - log_q.exp()) ** GAMMA)
    return -(factor * target * log_q).sum() / target[:, 0].numel()


def climbed(network: nn.Module, image: tuple[Tensor, ...], target: Tensor) -> tuple[Tensor, ...]:
    """x + l g / ||g|| for each sample and lattice, g the gradient of -sum over rare voxels of log p; x where there is no rare voxel."""
    leaves = tuple(x.clone().requires_grad_() for x in image)
    rare = target[:, CORE]
    gradients = torch.autograd.grad(-(rare * network(leaves).log_softmax(1)[:, CORE]).sum(), leaves)
    samples = range(len(rare))
    return tuple(
        torch.stack([x[i] + MAGNITUDE * g[i] / g[i].norm() if rare[i].any() else x[i] for i in samples])
        for x, g in zip(image, gradients, strict=True)
    )


def mixture(image: tuple[Tensor, ...], target: Tensor, weight: float, partner: list[int]) -> tuple[tuple[Tensor, ...], Tensor]:
    """w x_i + (1 - w) x_k; a voxel is of the class both have, else rare where the rare one weighs more than the margin, else ignored."""
    own, other = target, target[partner]
    mixed = own * other
    mixed[:, CORE] += (weight > MIX_MARGIN) * own[:, CORE] * (other[:, 0] + other[:, EDEMA])
    mixed[:, CORE] += (1 - weight > MIX_MARGIN) * other[:, CORE] * (own[:, 0] + own[:, EDEMA])
    return tuple(weight * x + (1 - weight) * x[partner] for x in image), mixed


def test_the_sampler_always_augments_patches_centered_on_the_rare_class_and_never_others(begun):
    _, _, loader = begun
    assert loader.rare == {CORE}
    batch = loader.batch(1)
    assert set(batch.classes) == {0, EDEMA, CORE}
    assert batch.augmented == tuple(index == CORE for index in batch.classes)


@pytest.mark.parametrize(("seed", "own_wins"), [(5, True), (10, False)])
def test_clean_adversarial_and_mixed_terms_and_the_update_are_those_of_the_formulas(begun, seed, own_wins):
    recipe, progress, loader = begun
    batch, network = loader.batch(1), deepcopy(progress.network)
    terms = step(progress, recipe.train, batch, torch.Generator().manual_seed(seed))

    target = one_hot(batch.label)
    holds_core = target[:, CORE].flatten(1).any(dim=1)
    assert holds_core.any()
    assert not holds_core.all()
    draws = host_draws(torch.Generator().manual_seed(seed))
    weight, places = (1 - MIX_MARGIN) * draws.beta(1.0, 1.0), draws.integers(1, 4)
    assert (weight > MIX_MARGIN) is own_wins
    mixed, goal = mixture(batch.image, target, weight, [(i + places) % 4 for i in range(4)])
    undecided = (goal.sum(1) == 0) & (batch.label <= CORE)
    assert undecided.any()  # and count in N all the same
    expected = {
        "focal": focal(network(batch.image), target),
        "adversarial/focal": focal(network(climbed(network, batch.image, target)), target),
        "mixup/focal": focal(network(mixed), goal),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5), name
    total = sum(expected.values())
    assert terms["loss"].item() == pytest.approx(total.item(), rel=1e-5)
    moves = torch.autograd.grad(total, list(network.parameters()))
    for old, move, new in zip(network.parameters(), moves, progress.network.parameters(), strict=True):
        torch.testing.assert_close((old - new) / RATE, move, rtol=1e-3, atol=1e-5)
