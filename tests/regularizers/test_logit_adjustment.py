"""Logit adjustment: the shift by hand, what is counted, and what survives in a checkpoint."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import distributed as dist
from torch import multiprocessing
from torch.nn.functional import one_hot

from segkit.config.errors import InputError
from segkit.losses.cross_entropy import CrossEntropy
from segkit.regularizers.base import regularizers
from segkit.regularizers.logit_adjustment import LogitAdjustment, RunningLogitAdjustment

NOBODY = torch.tensor([False, False])


def voxels(*labels, classes=2):
    """One-hot target [1, C, N, 1, 1] of N voxels in a row; -1 is ignored."""
    hot = one_hot(torch.tensor(labels).clamp(min=0), classes).float() * (torch.tensor(labels) >= 0).unsqueeze(1)
    return hot.T.reshape(1, classes, -1, 1, 1)


def started(tau=1.0, classes=2) -> RunningLogitAdjustment:
    return LogitAdjustment(tau=tau).start(classes, features=8, steps=10)


def shift(running, classes=2):
    """What is added to each class's logit."""
    return running.adjust(torch.zeros(1, classes, 1, 1, 1, dtype=torch.float64), voxels(0, classes=classes), NOBODY).flatten()


def test_by_default_tau_is_one():
    assert regularizers.build("logit_adjustment") == LogitAdjustment(tau=1.0)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_the_shift_by_hand(tau):
    running = started(tau)
    running.see(voxels(0, 0, 0, 1, -1))  # and one more of each class
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 2, 1, 1)
    expected = logits + tau * torch.tensor([math.log(4 / 6), math.log(2 / 6)]).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(running.adjust(logits, voxels(0, 1), NOBODY), expected)


def test_counts_add_up_over_steps():
    running = started()
    running.see(voxels(0, 0, 1))
    running.see(voxels(1, 1, 1, 1))
    torch.testing.assert_close(shift(running).exp(), torch.tensor([3 / 9, 6 / 9], dtype=torch.float64))


def test_views_and_coarser_levels_are_shifted_but_not_counted():
    running = started()
    running.see(voxels(0, 0, 0, 1))
    before = running.counts.clone()
    running.view(torch.nn.Identity(), (torch.zeros(1),), voxels(1, 1), NOBODY, torch.Generator())
    running.adjust(torch.zeros(1, 2, 2, 1, 1), voxels(1, 1), NOBODY)
    assert torch.equal(running.counts, before)


def test_before_the_first_batch_all_classes_are_shifted_alike():
    assert shift(started(classes=4), classes=4).tolist() == pytest.approx([-math.log(4)] * 4)


def test_a_class_not_met_yet_counts_one_voxel():
    running = started(classes=3)
    running.see(voxels(0, 0, 0, 0, 1, classes=3))
    torch.testing.assert_close(shift(running, 3).exp(), torch.tensor([5 / 8, 2 / 8, 1 / 8], dtype=torch.float64))


def test_a_batch_of_ignored_voxels_counts_nothing():
    running = started()
    running.see(voxels(-1, -1))
    assert running.counts.tolist() == [1, 1]


@pytest.mark.parametrize("classes", [2, 4])
def test_tau_zero_leaves_the_logits_as_they_are(classes):
    running, logits = started(0.0, classes), torch.randn(2, classes, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    running.see(voxels(0, 0, 0, 1, classes=classes))
    assert torch.equal(running.adjust(logits, torch.zeros_like(logits), torch.zeros(classes, dtype=torch.bool)), logits)


def test_with_classes_equally_frequent_the_loss_is_plain_cross_entropy():
    logits, target = torch.randn(1, 3, 6, 1, 1, generator=torch.Generator().manual_seed(0)), voxels(0, 1, 2, 0, 1, 2, classes=3)
    running, rare = started(classes=3), torch.zeros(3, dtype=torch.bool)
    running.see(target)
    loss = CrossEntropy()
    torch.testing.assert_close(loss(running.adjust(logits, target, rare), target, rare), loss(logits, target, rare))


def test_logits_that_tell_no_class_from_another_are_not_pulled_towards_the_frequent_one():
    target = voxels(*[0] * 9000, *[1] * 1000)
    logits = torch.zeros(target.shape, requires_grad=True)
    running = started()
    running.see(target)
    for adjusted, pull in ((running.adjust(logits, target, NOBODY), 0.0), (logits, 0.4)):
        (gradient,) = torch.autograd.grad(CrossEntropy()(adjusted, target, NOBODY), logits)
        assert gradient.sum((0, 2, 3, 4)).tolist() == pytest.approx([-pull, pull], abs=1e-4)


def test_gradcheck_with_cross_entropy():
    target = voxels(0, 1, 2, -1, 0, classes=3).double()
    running, rare = started(0.7, 3), torch.zeros(3, dtype=torch.bool)
    running.see(target)
    logits = torch.randn(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: CrossEntropy()(running.adjust(x, target, rare), target, rare), logits)


@pytest.mark.parametrize(
    ("given", "adjusted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_logits_do_not_swallow_the_shift(given, adjusted):
    running = started(0.01)
    running.see(voxels(0, 0, 0, 1))
    logits = running.adjust(torch.full((1, 2, 1, 1, 1), 100.0, dtype=given), voxels(0), NOBODY)
    assert logits.dtype == adjusted
    assert (logits.flatten() - 100).tolist() == pytest.approx([0.01 * math.log(4 / 6), 0.01 * math.log(2 / 6)], abs=1e-5)


def test_counts_go_on_where_float32_would_stop():
    running = started()
    running.counts.copy_(torch.tensor([2.0**24, 1.0]))
    running.see(voxels(0))
    assert running.counts.tolist() == [2**24 + 1, 1]


def test_a_batch_of_large_patches_is_counted_to_the_voxel():
    running = started()
    running.see(voxels(0).expand(2, 2, 2**23 + 1, 1, 1))  # 2^24 + 2 voxels, and one more
    assert running.counts.tolist() == [2**24 + 3, 1]


def test_counts_are_saved_and_loaded():
    running, resumed = started(), started()
    running.see(voxels(0, 0, 0, 1))
    assert list(running.state_dict()) == ["counts"]
    resumed.load_state_dict(running.state_dict())
    for part in (running, resumed):
        part.see(voxels(0, 1))
    assert torch.equal(resumed.counts, running.counts)


def test_settings_that_were_not_started_are_refused():
    with pytest.raises(InputError) as error:
        LogitAdjustment().adjust(torch.zeros(1, 2, 1, 1, 1), voxels(0), NOBODY)
    assert str(error.value) == (
        "SK-N002: logit_adjustment: the class shares are counted while training, and settings count nothing\n"
        "  where:    regularizers.logit_adjustment\n"
        "  expected: the running part that `start` makes\n"
        "  got:      the settings themselves\n"
        "  remedy:   call start(classes, features, steps) once, then in each step see(target) and adjust(...) of what it returned"
    )


def test_a_negative_tau_is_refused():
    with pytest.raises(ValidationError):
        LogitAdjustment(tau=-1.0)


HALVES = ((0, 0, 0, 1), (0, 1, 1, -1))


def one_process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    running = started()
    running.see(voxels(*HALVES[rank]))
    torch.save(running.counts, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_with_half_a_batch_each_count_the_whole(tmp_path):
    multiprocessing.spawn(one_process, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True).tolist() == [1 + 4, 1 + 3]
