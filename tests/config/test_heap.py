"""Freed memory: given back at once, or kept and given back at the end; and nothing of what was asked stays behind."""

import ctypes
import subprocess
import sys

import pytest

BLOCKS = """
import sys
import numpy as np
from segkit.config.heap import freed_memory
from segkit.engine.memory import held_by_process
def taken(size, count):
    before = held_by_process()
    blocks = [np.ones(size, np.uint8) for _ in range(count)]
    end = np.ones(2**12, np.uint8)
    blocks.clear()
    return (held_by_process() - before) / (size * count)
for kept in (True, False):
    with freed_memory(kept=kept):
        print(taken(2**22, 40), taken(2**28, 1), taken(2**27, 1))
    print(taken(2**27, 1))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_freed_memory_is_kept_or_given_back():
    done = subprocess.run([sys.executable, "-c", BLOCKS], stdout=subprocess.PIPE, text=True, check=True)
    small, large, again, *others = map(float, done.stdout.split())
    assert min(small, large) > 0.3  # the large one takes the place of the small ones
    assert max(map(abs, [again, *others])) < 0.1


NESTED = """
import numpy as np
from segkit.config.heap import freed_memory
from segkit.engine.memory import held_by_process
def stays():
    before = held_by_process()
    del (block := [np.ones(2**28, np.uint8)])[0]
    return held_by_process() - before > 2**27
outer, inner = freed_memory(kept=True), freed_memory(kept=False)
outer.__enter__(); first = stays()
inner.__enter__(); second = stays()
outer.__exit__(None, None, None); third = stays()
inner.__exit__(None, None, None); print(first, second, third, stays())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_of_several_who_are_inside_the_one_who_keeps_nothing_decides_in_whatever_order_they_leave():
    done = subprocess.run([sys.executable, "-c", NESTED], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "True False False False\n"
