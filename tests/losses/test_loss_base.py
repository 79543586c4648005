"""What losses share: the denominator, the sums of regions, one batch over several processes, the shelf."""

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from segkit.losses.base import full_precision, losses, region_sums, voxel_mean
from segkit.losses.dice import Dice


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


@pytest.mark.parametrize("name", ["cross_entropy", "dice"])
def test_a_loss_is_found_by_its_name_and_takes_a_weight(name):
    loss = losses.build({"name": name, "weight": 0.5})
    assert (loss.name, loss.weight) == (name, 0.5)


def test_the_weight_is_left_to_the_sum_of_losses():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 3, 3, 3), torch.eye(2).view(2, 2, 1, 1, 1).expand(2, 2, 3, 3, 3)
    rare = torch.tensor([False, True])
    for name in ("cross_entropy", "dice"):
        assert torch.equal(losses[name](weight=0.5)(logits, target, rare), losses[name]()(logits, target, rare))


def slices():
    """Logits of a batch of two, and its target."""
    rng = torch.Generator().manual_seed(0)
    target = torch.zeros(2, 2, 2, 2, 2)
    target[0, 0], target[1, 1] = 1, 1
    target[1, :, 0] = 0  # some ignored
    return torch.randn(2, 2, 2, 2, 2, generator=rng), target


def loss_and_gradient(logits, target):
    logits = logits.clone().requires_grad_()
    loss = Dice(background=True)(logits, target, torch.tensor([False, True]))
    loss.backward()
    return loss.detach(), logits.grad


def one_process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    logits, target = (whole[rank : rank + 1] for whole in slices())
    torch.save(loss_and_gradient(logits, target), folder / f"{rank}.pt")
    if rank == 0:  # without a gradient nobody is waited for
        Dice()(logits, target, torch.tensor([False, True]))
    dist.destroy_process_group()


def test_two_processes_with_half_a_batch_each_have_the_loss_of_the_whole(tmp_path):
    multiprocessing.spawn(one_process, (tmp_path,), nprocs=2)
    loss, gradient = loss_and_gradient(*slices())
    for rank in (0, 1):
        own_loss, own_gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(own_loss, loss)
        torch.testing.assert_close(own_gradient / 2, gradient[rank : rank + 1])  # DDP averages over the two
