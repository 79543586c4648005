"""One step: joint and sequential updates, penalties, clipping, the running mean."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from segkit.engine.objective import Objective
from segkit.engine.progress import Progress
from segkit.engine.step import add_penalty, follow, step
from segkit.losses.base import Loss
from segkit.losses.cross_entropy import CrossEntropy
from segkit.models.base import Lattice, Network
from segkit.optimizers.sgd import SGD
from segkit.recipe import Penalty, Train
from segkit.regularizers.base import Regularizer, RunningRegularizer
from segkit.regularizers.large_margin import LargeMargin
from segkit.regularizers.mixup import Mixup
from segkit.sampling.loader import Batch

RARE = torch.tensor([False, True])
PLAIN = CrossEntropy()


class Linear(Network):
    """A 1x1x1 classifier on the image itself, in float64, so that sums can be compared."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.classifier = nn.Conv3d(1, 2, 1).double()

    def lattices(self, output_shape):
        return (Lattice(1, output_shape, (0, 0, 0)),)

    def features(self, image):
        return image[0]


class Louder(Regularizer):
    """The image twice as loud, with the classes exchanged; remembers the weights it was asked with."""

    def view(self, network, image, target, rare, rng):
        SEEN.append(network.classifier.weight.detach().clone())
        return tuple(2 * x for x in image), target.flip(1)


Louder.name = "louder"
SEEN: list[torch.Tensor] = []


def batch() -> Batch:
    torch.manual_seed(1)
    label = torch.randint(2, (2, 3, 3, 3), dtype=torch.uint8)
    return Batch((torch.randn(2, 1, 3, 3, 3, dtype=torch.float64),), label, ("a", "b"), ((0, 0, 0),) * 2, (0, 1), (False, False))


def progress(*regularizers: Regularizer, network: Network | None = None, loss: Loss = PLAIN) -> Progress:
    network = network or Linear()
    optimizer = SGD(learning_rate=0.1, momentum=0.0, weight_decay=0.0).build(network.parameters())
    objective = Objective((loss,), regularizers, RARE, features=1, steps=1)
    return Progress(network, objective, optimizer, None, torch.zeros(2, 2, dtype=torch.int64), pinned={"precision": "fp32"})


def views() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Image and classes of the clean batch, and of what `Louder` makes of it."""
    image, label = batch().image[0], batch().label.long()
    return [(image, label), (2 * image, 1 - label)]


def gradients(network: Network, *seen: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
    """Of the sum of the cross-entropies on these images and classes, by plain torch."""
    total = sum(nn.functional.cross_entropy(network.classifier(image), label) for image, label in seen)
    return list(torch.autograd.grad(total, list(network.parameters())))


def after(update: str, *regularizers: Regularizer, clip: float | None = None) -> tuple[Progress, dict[str, torch.Tensor]]:
    state = progress(*regularizers)
    SEEN.clear()
    terms = step(
        state,
        Train(steps=1, update=update, clip_gradient=clip),
        batch(),
        torch.Generator(),
    )
    return state, terms


def test_joint_is_one_update_on_the_sum_over_views():
    before, (state, terms) = Linear(), after("joint", Louder())
    for old, gradient, new in zip(before.parameters(), gradients(before, *views()), state.network.parameters(), strict=True):
        torch.testing.assert_close(new, old - 0.1 * gradient)
    assert state.updates == 1
    assert terms["loss"].item() == pytest.approx(terms["cross_entropy"].item() + terms["louder/cross_entropy"].item())


def test_sequential_is_an_update_a_view_each_from_the_last_weights():
    state, _ = after("sequential", Louder())
    expected = Linear()
    for seen in views():
        moves = gradients(expected, seen)
        with torch.no_grad():
            for weight, move in zip(expected.parameters(), moves, strict=True):
                weight -= 0.1 * move
    for ours, theirs in zip(state.network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert state.updates == 2


@pytest.mark.parametrize("asymmetric", [False, True])
def test_class_weights_weigh_the_classes_of_a_mixed_view_and_leave_its_margin_alone(asymmetric):
    margin, mixup = LargeMargin(margin=0.5, asymmetric=True), Mixup(alpha=1.0, asymmetric=asymmetric)
    state, before, rng = progress(margin, mixup, loss=CrossEntropy(class_weights=(1.0, 7.0))), Linear(), torch.Generator().manual_seed(2)
    terms = step(state, Train(steps=1), batch(), rng)
    clean = nn.functional.one_hot(batch().label.long(), 2).movedim(-1, 1).double()
    (image,), target = mixup.view(before, batch().image, clean, RARE, rng)
    log_q = (before.classifier(image) - 0.5 * target * RARE.view(1, 2, 1, 1, 1)).log_softmax(1)
    by_class = -(target * log_q).sum((0, 2, 3, 4)) / batch().label.numel()
    assert (by_class > 0).all()
    assert (target.sum(1) == 0).any() == asymmetric  # ignored voxels
    assert terms["mixup/cross_entropy"].item() == pytest.approx((by_class[0] + 7 * by_class[1]).item(), rel=1e-6)


def test_a_running_part_is_told_the_step_and_the_target_before_the_pass():
    class Witness(RunningRegularizer):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[object] = []

        def set_step(self, step):
            self.calls.append(step)

        def see(self, target):
            self.calls.append(target.sum().item())

        def view(self, network, image, target, rare, rng):
            self.calls.append("view")
            return image, target

        def blend(self, features, target, rare, rng):
            self.calls.append("blend")
            return features, target

        def adjust(self, logits, target, rare):
            self.calls.append("adjust")
            return logits

    class Watched(Regularizer):
        def start(self, classes, features, steps):
            return witness

    Watched.name, witness = "watched", Witness()
    state = progress(Watched())
    for number in range(2):
        state.step = number
        step(state, Train(steps=2), batch(), torch.Generator())
    voxels = batch().label.numel()
    once = [voxels, "view", "blend", "adjust", "adjust"]  # the view is adjusted, too, but not blended
    assert witness.calls == [0, *once, 1, *once]


def test_a_phase_is_announced_for_every_part_of_a_step():
    said = []

    @contextmanager
    def phase(name):
        said.append(name)
        yield

    step(progress(Louder()), Train(steps=1, update="sequential"), batch(), torch.Generator(), phase)
    assert said == ["views", "forward", "backward", "update", "forward", "backward", "update"]


@pytest.mark.parametrize("update", ["joint", "sequential"])
def test_all_views_are_made_before_any_update(update):
    after(update, Louder(), Louder())
    assert len(SEEN) == 2
    assert all(torch.equal(seen, Linear().classifier.weight) for seen in SEEN)


def test_only_the_clean_view_moves_running_statistics():
    class Normalized(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm3d(1).double()

        def features(self, image):
            return self.norm(image[0])

    network = Normalized()
    step(progress(Louder(), network=network), Train(steps=1), batch(), torch.Generator())
    assert network.norm.num_batches_tracked == 1
    torch.testing.assert_close(network.norm.running_mean, 0.1 * batch().image[0].mean((0, 2, 3, 4)))


def test_a_clipped_gradient_has_the_norm_asked_for():
    state, terms = after("joint", clip=0.01)
    moved = torch.cat([(new - old).flatten() for new, old in zip(state.network.parameters(), Linear().parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-4)
    assert terms["gradient_norm"].item() > 0.01


def test_the_penalty_is_the_gradient_of_its_formula_on_kernels_alone():
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.ConvTranspose3d(2, 1, 2))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    add_penalty(network, Penalty(l1=0.1, l2=0.01))
    kernels = [network[0].weight, network[2].weight]
    total = sum(0.1 * kernel.abs().sum() + 0.01 * (kernel**2).sum() for kernel in kernels)
    for kernel, gradient in zip(kernels, torch.autograd.grad(total, kernels), strict=True):
        torch.testing.assert_close(kernel.grad, gradient)
    others = [p for p in network.parameters() if all(p is not kernel for kernel in kernels)]
    assert all((p.grad == 0).all() for p in others)


def test_the_running_mean_by_hand():
    mean, live = nn.Conv3d(1, 1, 1), nn.Conv3d(1, 1, 1)
    nn.init.constant_(mean.weight, 1.0)
    nn.init.constant_(live.weight, 3.0)
    follow(mean, live, 0.99, 0)  # decay (1 + 0) / (10 + 0)
    assert mean.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 3)
    follow(mean, live, 0.5, 10**6)
    assert mean.weight.item() == pytest.approx(0.5 * 2.8 + 0.5 * 3)


def test_the_running_mean_takes_over_statistics():
    mean, live = nn.BatchNorm3d(2), nn.BatchNorm3d(2)
    live(torch.randn(2, 2, 3, 3, 3))
    follow(mean, live, 0.9, 5)
    assert torch.equal(mean.running_mean, live.running_mean)
    assert mean.num_batches_tracked == 1
