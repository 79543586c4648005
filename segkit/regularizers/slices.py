"""The batch beyond the slice of it that this process holds, where several train together."""

import numpy as np
import torch
from torch import Generator, Tensor
from torch import distributed as dist


def rank_and_count() -> tuple[int, int]:
    """Which slice of the batch is this process's, and how many there are; all slices have one size."""
    if not dist.is_available() or not dist.is_initialized():
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def samples_further_on(slice: Tensor, places: int) -> Tensor:
    """For each sample of the slice, [B, ...], the one so many places further on in the whole batch, the first following the last.

    These lie in two neighboring slices, the same number of slices further on for every process.
    """
    slices, samples = divmod(places, len(slice))
    return torch.cat((_slice_further_on(slice[samples:], slices), _slice_further_on(slice[:samples], slices + 1)))


def of_all_slices(own: Tensor) -> Tensor:
    """What each process has, [C, N, ...], one after the other along the second axis: [C, N count, ...]."""
    _, count = rank_and_count()
    if count == 1:
        return own
    own = own.contiguous()
    parts = [torch.empty_like(own) for _ in range(count)]
    dist.all_gather(parts, own)
    return torch.cat(parts, dim=1)


def _slice_further_on(part: Tensor, slices: int) -> Tensor:
    """The same part of the slice that so many ranks further on have."""
    rank, count = rank_and_count()
    if slices % count == 0 or not len(part):
        return part
    part = part.contiguous()
    theirs = torch.empty_like(part)
    ours_to, theirs_from = (rank - slices) % count, (rank + slices) % count
    for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, part, ours_to), dist.P2POp(dist.irecv, theirs, theirs_from)]):
        work.wait()
    return theirs


def own_draws(rng: Generator) -> Generator:
    """A generator for what is drawn a voxel: the given one in the first process, others in others, where it would repeat itself."""
    rank, _ = rank_and_count()
    if rank == 0:
        return rng
    seed = np.random.Generator(np.random.Philox(key=[rng.initial_seed(), rank])).integers(2**63)
    return Generator(device=rng.device).manual_seed(int(seed))
