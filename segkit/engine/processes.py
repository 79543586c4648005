"""The processes that train one network together, each on its slice of every batch."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from segkit.config.errors import InputError, WorkError
from segkit.config.faults import readable
from segkit.engine.device import choose_device

T = TypeVar("T")

ENDED = "ended"  # where a process that ends too early leaves word in the store that all share
LOOK_SECONDS = 0.1  # between two looks into it


@dataclass(frozen=True)
class Processes:
    """Those of one training, as one of them sees them. Alone, it is what all methods leave as it is.

    rank: which one this is; the first, 0, is the only one that writes and prints. local_rank, local_count: the same on this machine.
    store: where they leave short messages, None for one process alone.

    Every process does the same in the same order, and takes part in every sum: what decides whether a sum is made has to be the same in
    all of them, so that the time, signals and disks, which are not, decide through `most`.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    store: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def device(self, wish: str) -> torch.device:
        """As `choose_device`; of several processes on a machine each gets a CUDA device of its own."""
        if self.count == 1:
            return choose_device(wish)
        if wish.startswith("cuda:"):
            raise InputError(
                "SK-T061",
                "several processes cannot share one device",
                where="--device",
                expected="auto, cpu or cuda: each process takes a device of its own",
                got=wish,
                remedy="choose devices with CUDA_VISIBLE_DEVICES",
            )
        device = choose_device(f"cuda:{self.local_rank}" if wish == "cuda" or (wish == "auto" and torch.cuda.is_available()) else wish)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return device

    def slice_of(self, batch_size: int) -> range:
        """The samples of the batch that are this process's. Raises InputError (SK-T060) where slices would differ in size.

        Slices of one size make the mean over processes of a mean over voxels the mean over all voxels.
        """
        size, left = divmod(batch_size, self.count)
        if left:
            near = [str(self.count * number) for number in (size, size + 1) if number]
            raise InputError(
                "SK-T060",
                "the batch cannot be divided evenly among the processes",
                where="train.batch_size",
                expected=f"a multiple of {self.count}, the number of processes",
                got=str(batch_size),
                remedy=f"train.batch_size={' or '.join(near)}, or another --nproc-per-node",
            )
        return range(self.rank * size, (self.rank + 1) * size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its mean over the processes, all in one message."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        means = flat.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [mean.view(tensor.shape) for mean, tensor in zip(means, tensors, strict=True)])

    def total(self, tensor: Tensor) -> Tensor:
        """The tensor, after it has been replaced by its sum over the processes."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def collect(self, sums: Iterable[Tensor]) -> None:
        """Brings sums that each process keeps of its slices to the first one; the others begin at 0 again."""
        for tensor in sums:
            self.total(tensor)
            if not self.first:
                tensor.zero_()

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by the first process's."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def most(self, *numbers: int) -> list[int]:
        """The largest that any process has of each number. Nobody gets it before everybody has asked. No device is waited for."""
        if self.count == 1:
            return list(numbers)
        largest = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return largest.tolist()

    def meet(self) -> None:
        """Nobody goes on before everybody is here."""
        self.most(0)

    def gather(self, value: T) -> list[T]:
        """What each process has, in the order of ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process does what is inside, then all others, who wait for it however long it takes; then they meet."""
        if self.count == 1:
            yield
            return
        done = f"turn {self.store.add(f'turns of {self.rank}', 1)}"
        if not self.first:
            while not self.store.check([done]):
                if self.store.check([ENDED]):
                    raise SystemExit(1)  # `joined` knows the status
                time.sleep(LOOK_SECONDS)
        yield
        if self.first:
            self.store.set(done, "")
        self.meet()


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun has started, this one among them; otherwise this one alone.

    What ends one of them ends all, with its exit status. The first that fails says why. The others, who notice when its connections break
    or when torchrun tells them to end, find its status in the store and leave without a word.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1):
        yield ALONE
        return
    import torch._dynamo  # loaded later, as by an optimizer's first step, it would keep the group, whose threads then crash the end
    from torch.distributed.rendezvous import rendezvous  # which a torch built without distributed does not have

    store, rank, count = next(rendezvous("env://"))
    processes = Processes(
        rank, count, int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]), dist.PrefixStore("segkit", store)
    )
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"  # a sum of what lies on the host waits for no device
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=count)
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield processes
        processes.meet()
        dist.destroy_process_group()  # after a failure it might wait for those who have left; the end of the process closes all
        signal.signal(signal.SIGTERM, before)
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's to a process that is ending already
        failed, status = _first_to_end(processes, _exit_status(error))
        if failed != rank:
            raise SystemExit(status) from error
        if _is_lost(error):
            what, remedy = "the processes of this training have lost one another", "see what torchrun says of them; go on with --resume"
            raise WorkError("SK-T062", what, got=str(error).splitlines()[0], remedy=remedy) from error
        raise


def _leave(number: int, frame: FrameType | None) -> None:
    """On SIGTERM where no training is under way that would write a checkpoint first."""
    raise SystemExit(128 + number)


def _first_to_end(processes: Processes, status: int) -> tuple[int, int]:
    """Rank and exit status of the process that ended first: this one, unless another has left its own in the store."""
    try:
        rank, first = processes.store.compare_set(ENDED, "", f"{processes.rank} {status}").split()
    except dist.DistError:  # torchrun is gone, and the store with it
        return processes.rank, status
    return int(rank), int(first)


def _exit_status(error: BaseException) -> int:
    """What the command line ends with after this error."""
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return 130
    known = readable(error)
    return 1 if known is None else known.exit_status


def _is_lost(error: BaseException) -> bool:
    """Whether another process could not be reached. Of gloo that is a plain RuntimeError."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
