"""Reading, computing and writing of many cases at once: one is read ahead, one is written behind."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from segkit.config.errors import SegkitError

Item = TypeVar("Item")
Read = TypeVar("Read")
Result = TypeVar("Result")
Written = TypeVar("Written")


def pipelined(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Read], Result],
    write: Callable[[Item, Result | SegkitError], Written],
) -> Iterator[Written]:
    """What `write` gives for each item, in their order. read and write run in a thread each, compute where this is called.

    At any time at most three items are held: one being read, one computed, one written. A SegkitError of read or compute is handed to
    `write`, which alone knows what becomes of an item. What was computed is written also where the caller stops, and where something else
    stops this, what was written before is given first.
    """
    with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
        ahead = [reader.submit(caught, read, item) for item in items[:1]]
        behind: list[Future[Written]] = []
        for number, item in enumerate(items):
            case = ahead.pop().result()
            ahead = [reader.submit(caught, read, each) for each in items[number + 1 : number + 2]]
            try:
                result = case if isinstance(case, SegkitError) else caught(compute, case)
            except BaseException:
                yield from (future.result() for future in behind)
                raise
            del case
            done, behind = [future.result() for future in behind], [writer.submit(write, item, result)]
            yield from done
        yield from (future.result() for future in behind)


def one_by_one(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Read], Result],
    write: Callable[[Item, Result | SegkitError], Written],
) -> Iterator[Written]:
    """The same with one item held at a time: slower, in less memory."""

    def result_of(item: Item) -> Result:
        return compute(read(item))

    for item in items:
        yield write(item, caught(result_of, item))


def caught(function: Callable[[Item], Result], item: Item) -> Result | SegkitError:
    """What the function gives, or the SegkitError that it raises."""
    try:
        return function(item)
    except SegkitError as error:
        return error
