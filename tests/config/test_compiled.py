"""Compiled loops: the numbers of numpy, with a folder to keep the code in or without."""

import numpy as np

from segkit.config.compiled import compiled


@compiled
def blend(low, high, share):
    out = np.empty_like(low)
    for place in range(len(low)):
        out[place] = low[place] + share[place] * (high[place] - low[place])
    return out


def test_loops_round_as_numpy_does():
    low, high, share = np.random.default_rng(0).random((3, 100_000), dtype=np.float32)
    np.testing.assert_array_equal(blend(low, high, share), low + share * (high - low))


def test_a_loop_that_nowhere_can_be_kept_is_compiled_all_the_same():
    made: dict = {}
    exec("def twice(number):\n    return 2 * number", made)  # of no file, so there is no place beside it
    assert compiled(made["twice"])(21) == 42
