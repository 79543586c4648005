"""The outline of a mask as an SVG path that runs along the edges of its voxels."""

from itertools import pairwise

import numpy as np

Point = tuple[int, int]


def outline(mask: np.ndarray) -> str:
    """bool [rows, columns] -> closed loops, in units of voxels: x to the right, y down, the first voxel from (0, 0) to (1, 1).

    Filled by the rule `evenodd` the path covers exactly the voxels of the mask, holes left open. Empty text where there is no voxel.

        . # .        M1 0h1v1h-1z: once round the voxel, starting at its upper left corner
        . . .
    """
    following = _edges(mask)
    loops = []
    while following:
        start = next(iter(following))
        corners, place, course = [start], start, (0, 0)
        while True:
            ahead = following[place].pop()
            if not following[place]:
                del following[place]
            step = (ahead[0] - place[0], ahead[1] - place[1])
            if step == course:
                corners[-1] = ahead
            else:
                corners.append(ahead)
            place, course = ahead, step
            if place == start:
                break
        loops.append(_path(corners))
    return "".join(loops)


def _edges(mask: np.ndarray) -> dict[Point, list[Point]]:
    """From each corner the next ones, clockwise around the voxels of the mask: as many edges leave a corner as enter it."""
    padded = np.pad(mask, 1).astype(np.int8)
    down, right = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    following: dict[Point, list[Point]] = {}
    for change, sign, begin, end in (
        (down, 1, (0, 0), (1, 0)),  # the upper edge of a voxel, to the right
        (down, -1, (1, 0), (0, 0)),  # the lower edge of the one above, to the left
        (right, -1, (0, 0), (0, 1)),  # the right edge of the one before, down
        (right, 1, (0, 1), (0, 0)),  # the left edge, up
    ):
        for y, x in np.argwhere(change == sign).tolist():
            following.setdefault((x + begin[0], y + begin[1]), []).append((x + end[0], y + end[1]))
    return following


def _path(corners: list[Point]) -> str:
    """Relative moves, each along one axis; the last one is left to `z`."""
    text = [f"M{corners[0][0]} {corners[0][1]}"]
    for (x, y), (next_x, next_y) in pairwise(corners[:-1]):
        text.append(f"v{next_y - y}" if next_x == x else f"h{next_x - x}")
    return "".join([*text, "z"])
