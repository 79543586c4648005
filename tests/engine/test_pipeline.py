"""Many cases at once: what is written, in which order, and what one bad case or an impatient caller does to the others."""

import threading

import pytest

from segkit.config.errors import InputError, SegkitError
from segkit.engine.pipeline import pipelined


def bad(item):
    return InputError("SK-X000", f"no {item}")


def test_results_come_in_order_and_errors_take_their_place():
    def read(item):
        if item == 2:
            raise bad(item)
        return item * 10

    def compute(case):
        if case == 40:
            raise bad(case)
        return case + 1

    def write(item, result):
        return item, result.what if isinstance(result, SegkitError) else result

    assert list(pipelined([1, 2, 3, 4, 5], read, compute, write)) == [(1, 11), (2, "no 2"), (3, 31), (4, "no 40"), (5, 51)]
    assert list(pipelined([], read, compute, write)) == []


def test_the_next_is_read_and_the_last_written_while_one_is_computed():
    read_next, wrote_last = threading.Event(), threading.Event()

    def read(item):
        if item == 2:
            read_next.set()
        return item

    def compute(case):
        if case == 1:
            assert read_next.wait(10)  # 2 is read while 1 is computed
        else:
            assert wrote_last.wait(10)  # 1 is written while 2 is computed
        return case

    def write(item, result):
        if item == 1:
            wrote_last.set()
        return result

    assert list(pipelined([1, 2], read, compute, write)) == [1, 2]


def test_no_more_than_one_is_read_ahead():
    read = []
    results = pipelined(range(10), lambda item: read.append(item) or item, lambda case: case, lambda item, result: result)
    next(results)
    assert len(read) <= 3
    results.close()


def test_what_was_computed_is_written_where_the_caller_stops():
    written = []

    def compute(case):
        if case == 2:
            raise KeyboardInterrupt
        return case

    with pytest.raises(KeyboardInterrupt):
        list(pipelined([0, 1, 2, 3], lambda item: item, compute, lambda item, result: written.append(result)))
    assert written == [0, 1]


def test_what_was_computed_is_written_where_the_caller_wants_no_more():
    written = []
    results = pipelined([0, 1, 2, 3], lambda item: item, lambda case: case, lambda item, result: written.append(item) or item)
    assert next(results) == 0
    results.close()
    assert written == [0, 1]


def test_what_was_written_is_given_before_a_fault_of_ours():
    def compute(case):
        if case == 1:
            raise MemoryError
        return case

    outcomes = pipelined([0, 1], lambda item: item, compute, lambda item, result: item)
    assert next(outcomes) == 0
    with pytest.raises(MemoryError):
        next(outcomes)


def test_a_fault_of_ours_is_not_taken_for_a_bad_case():
    def compute(case):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(pipelined([1], lambda item: item, compute, lambda item, result: result))
