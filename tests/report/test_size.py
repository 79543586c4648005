"""How large a page is, in words, and how many slices it has for that."""

import pytest

from segkit.report.size import LIMIT, SLICES, volume_of, within_limit


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 kB"), (1_499, "1 kB"), (85_400, "85 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (12_345_678, "12.3 MB")]
)
def test_a_page_is_told_in_kb_below_a_mb(size, words):
    assert volume_of("x" * size) == words


def test_a_letter_counts_as_the_bytes_it_takes():
    assert volume_of("é" * 1000) == "2 kB"


@pytest.mark.parametrize(("a_slice", "slices"), [(1, 40), (LIMIT // 40, 40), (LIMIT // 40 + 1, 20), (LIMIT // 5, 5), (LIMIT, 5)])
def test_a_page_has_as_many_slices_as_fit_and_never_fewer_than_the_fewest(a_slice, slices):
    tried = []

    def made(count: int) -> str:
        tried.append(count)
        return "x" * (a_slice * count)

    assert len(within_limit(made)) == a_slice * slices
    assert tried == list(SLICES[: SLICES.index(slices) + 1])
