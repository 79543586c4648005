"""Running statistics of batch normalization: kept inside, followed outside."""

import pytest
import torch
from torch import nn

from segkit.regularizers.statistics import running_statistics_kept


def network() -> nn.Sequential:
    """Batch normalization with and without running statistics."""
    return nn.Sequential(nn.BatchNorm3d(2), nn.Sequential(nn.BatchNorm3d(2, track_running_stats=False))).train()


def image() -> torch.Tensor:
    return 3 + torch.randn(2, 2, 3, 3, 3, generator=torch.Generator().manual_seed(0))


def test_inside_the_batch_is_normalized_by_its_own_and_nothing_is_followed():
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with running_statistics_kept(net):
        out = net[0](image())
    torch.testing.assert_close(out.mean((0, 2, 3, 4)), torch.zeros(2), atol=1e-6, rtol=0)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_afterwards_they_are_followed_again():
    net = network()
    with running_statistics_kept(net):
        net(image())
    net(image())
    assert net[0].num_batches_tracked == 1
    torch.testing.assert_close(net[0].running_mean, 0.1 * image().mean((0, 2, 3, 4)))


def test_a_norm_without_running_statistics_does_not_get_any():
    net = network()
    with running_statistics_kept(net):
        pass
    assert [norm.track_running_stats for norm in (net[0], net[1][0])] == [True, False]


def test_the_inner_of_two_does_not_end_the_outer():
    net = network()
    with running_statistics_kept(net):
        with running_statistics_kept(net):
            pass
        net(image())
    assert net[0].num_batches_tracked == 0


def test_an_error_inside_ends_it():
    net = network()
    with pytest.raises(ValueError, match="broken"), running_statistics_kept(net):
        raise ValueError("broken")
    assert net[0].track_running_stats
