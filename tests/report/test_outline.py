"""Outlines: paths by hand, and that a path covers its mask and nothing else."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segkit.report.outline import outline


def mask_of(text: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in line] for line in text.split()])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (". .", ""),
        (".#. ...", "M1 0h1v1h-1z"),
        ("## ##", "M0 0h2v2h-2z"),
        ("#. ##", "M0 0h1v1h1v1h-2z"),
        ("#.#", "M0 0h1v1h-1zM2 0h1v1h-1z"),
    ],
)
def test_a_path_by_hand(text, path):
    assert outline(mask_of(text)) == path


def test_a_hole_is_a_loop_of_its_own():
    assert outline(mask_of("### #.# ###")).count("z") == 2


def covered(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Voxels with their center inside the path, by the even-odd rule: each vertical edge turns all that lies to its right."""
    inside = np.zeros(shape, dtype=bool)
    for loop in re.findall(r"M(\d+) (\d+)([^z]*)z", path):
        x, y = int(loop[0]), int(loop[1])
        start = x, y
        corners = [start]
        for axis, step in re.findall(r"([hv])(-?\d+)", loop[2]):
            x, y = (x + int(step), y) if axis == "h" else (x, y + int(step))
            corners.append((x, y))
        for (first_x, first_y), (last_x, last_y) in zip(corners, [*corners[1:], start], strict=True):
            assert first_x == last_x or first_y == last_y, "an edge that is not along an axis"
            if first_x == last_x:
                inside[min(first_y, last_y) : max(first_y, last_y), first_x:] ^= True
    return inside


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()))
def test_a_path_covers_exactly_the_mask(mask):
    np.testing.assert_array_equal(covered(outline(mask), mask.shape), mask)
