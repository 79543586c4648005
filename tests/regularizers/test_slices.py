"""The batch beyond the own slice: three processes see of it what one sees of the whole."""

import torch
from torch import distributed as dist
from torch import multiprocessing

from segkit.regularizers.slices import of_all_slices, own_draws, rank_and_count, samples_further_on

SLICES, SAMPLES = 3, 2
BATCH = torch.arange(SLICES * SAMPLES * 8.0).view(SLICES * SAMPLES, 2, 2, 2)


def draws(rng: torch.Generator) -> torch.Tensor:
    return torch.rand(4, generator=own_draws(rng))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def one_process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=SLICES)
    assert rank_and_count() == (rank, SLICES)
    own = BATCH[SAMPLES * rank : SAMPLES * (rank + 1)].contiguous(memory_format=torch.channels_last)
    found = {
        "further": [samples_further_on(own, places) for places in range(1, len(BATCH))],
        "all": of_all_slices(own.transpose(0, 1)),
        "known": samples_further_on(own > 8, 3),
        "draws": draws(seeded()),
    }
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_processes_see_the_batch_beyond_their_slices(tmp_path):
    multiprocessing.spawn(one_process, (tmp_path,), nprocs=SLICES)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(SLICES)]
    for places in range(1, len(BATCH)):
        assert torch.equal(torch.cat([each["further"][places - 1] for each in found]), BATCH.roll(-places, 0))
    assert torch.equal(torch.cat([each["known"] for each in found]), BATCH.roll(-3, 0) > 8)
    assert all(torch.equal(each["all"], BATCH.transpose(0, 1)) for each in found)
    assert torch.equal(found[0]["draws"], draws(seeded()))  # the first draws as one process does
    assert len({tuple(each["draws"].tolist()) for each in found}) == SLICES


def test_alone_the_slice_is_the_batch():
    assert rank_and_count() == (0, 1)
    assert torch.equal(samples_further_on(BATCH, 4), BATCH.roll(-4, 0))
    assert of_all_slices(BATCH) is BATCH
    rng = seeded()
    assert own_draws(rng) is rng
