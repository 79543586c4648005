"""What losses share: the denominator, the sums of regions, one batch over several processes, the shelf."""

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from segkit.losses import CrossEntropy, Dice, FBeta, FocalDice, GeneralizedDice, IoU, Tversky
from segkit.losses.base import class_sums, full_precision, known_voxels, losses, region_sums, voxel_mean


def test_a_voxel_mean_sums_classes_and_counts_voxels():
    assert voxel_mean(torch.ones(2, 3, 4, 5, 6)).item() == 3


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_types_alone_are_widened(given, used):
    assert full_precision(torch.zeros(1, dtype=given)).dtype == used


def test_region_sums_by_hand():
    # two voxels of class 0 and 1, the third ignored
    p = torch.tensor([[0.75, 0.5, 0.1], [0.25, 0.5, 0.9]]).view(1, 2, 3, 1, 1)
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).view(1, 2, 3, 1, 1)
    expected = torch.tensor([[0.75, 0.5], [1.25, 0.75], [1.0, 1.0]])
    torch.testing.assert_close(region_sums(p, target, batch=True), expected)
    torch.testing.assert_close(region_sums(p, target, batch=False), expected.unsqueeze(1))


def test_known_voxels_have_a_class():
    target = torch.tensor([[1.0, 0.0, 0.3, 0.0], [0.0, 1.0, 0.7, 0.0]]).view(1, 2, 4, 1, 1)
    assert known_voxels(target).flatten().tolist() == [True, True, True, False]


def test_class_sums_by_hand():
    # terms [2, 2, 3, 1, 1]: two samples, two classes, three voxels
    counting = torch.arange(12.0).view(2, 2, 3, 1, 1)
    of_batch, of_samples = class_sums((counting, -counting), batch=True), class_sums((counting, -counting), batch=False)
    assert of_batch.tolist() == [[0 + 1 + 2 + 6 + 7 + 8, 3 + 4 + 5 + 9 + 10 + 11], [-24, -42]]
    assert of_samples[0].tolist() == [[0 + 1 + 2, 3 + 4 + 5], [6 + 7 + 8, 9 + 10 + 11]]
    assert torch.equal(of_samples[1], -of_samples[0])


@pytest.mark.parametrize("name", list(losses))
def test_a_loss_is_found_by_its_name_and_takes_a_weight(name):
    loss = losses.build({"name": name, "weight": 0.5})
    assert (loss.name, loss.weight) == (name, 0.5)


@pytest.mark.parametrize("name", list(losses))
def test_the_weight_is_left_to_the_sum_of_losses(name):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 3, 3, 3), torch.eye(2).view(2, 2, 1, 1, 1).expand(2, 2, 3, 3, 3)
    rare = torch.tensor([False, True])
    assert torch.equal(losses[name](weight=0.5)(logits, target, rare), losses[name]()(logits, target, rare))


def slices():
    """Logits of a batch of two, and its target."""
    rng = torch.Generator().manual_seed(0)
    target = torch.zeros(2, 2, 2, 2, 2)
    target[0, 0], target[1, 1] = 1, 1
    target[1, :, 0] = 0  # some ignored
    return torch.randn(2, 2, 2, 2, 2, generator=rng), target


BATCH_WIDE = (
    Dice(background=True),
    FBeta(background=True),
    FocalDice(background=True),
    GeneralizedDice(),
    IoU(background=True),
    Tversky(background=True),
    CrossEntropy(class_weights="inverse_frequency"),
)


def losses_and_gradients(logits, target):
    rare = torch.tensor([False, True])
    found = []
    for loss in BATCH_WIDE:
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, target, rare)
        value.backward()
        found.append((value.detach(), leaf.grad))
    return found


def one_process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    logits, target = (whole[rank : rank + 1] for whole in slices())
    torch.save(losses_and_gradients(logits, target), folder / f"{rank}.pt")
    if rank == 0:  # without a gradient nobody is waited for
        for loss in BATCH_WIDE:
            loss(logits, target, torch.tensor([False, True]))
    dist.destroy_process_group()


def test_two_processes_with_half_a_batch_each_have_the_losses_of_the_whole(tmp_path):
    multiprocessing.spawn(one_process, (tmp_path,), nprocs=2)
    of_ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for loss, (value, gradient), *parts in zip(BATCH_WIDE, losses_and_gradients(*slices()), *of_ranks, strict=True):
        own_values, own_gradients = zip(*parts, strict=True)
        if loss.by_region:  # made of sums over the whole batch; a mean over voxels is that of the own slice
            torch.testing.assert_close(own_values, (value, value))
        torch.testing.assert_close(torch.stack(own_values).mean(), value)
        torch.testing.assert_close(torch.cat(own_gradients) / 2, gradient)  # DDP averages over the two
