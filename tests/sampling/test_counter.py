"""Keys and their numbers: one generator led from key to key gives what a fresh one gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.sampling.counter import Purpose, Stream, host

keys = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.sampled_from(list(Purpose)))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**63 - 1), st.lists(keys, min_size=1, max_size=5))
def test_a_stream_gives_what_a_generator_of_the_key_gives_whatever_came_before(seed, several):
    stream = Stream(seed)
    for step, index, purpose in several:
        ours, fresh = stream.at(step, index, purpose), host(seed, step, index, purpose)
        for number in range(3):
            assert ours.random() == fresh.random()
            assert ours.integers(7, dtype="uint32") == fresh.integers(7, dtype="uint32")  # the other half of 64 bits is kept
            assert ours.standard_normal(number + 1).tolist() == fresh.standard_normal(number + 1).tolist()
