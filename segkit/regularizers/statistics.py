"""Running statistics of batch normalization, kept as they are while a network looks at something else than the clean batch."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalization uses the statistics of the batch and leaves its running ones, and their counter, as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
