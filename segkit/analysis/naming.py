"""What several runs are called beside one another."""

from collections.abc import Sequence
from pathlib import Path


def names_of(folders: Sequence[Path]) -> list[str]:
    """The last parts of the folders' paths, as few as tell them apart. No folder may come twice."""
    parts = [folder.resolve().parts for folder in folders]
    depth = next(depth for depth in range(1, 1 + max(map(len, parts))) if len({each[-depth:] for each in parts}) == len(parts))
    return ["/".join(each[-depth:]) for each in parts]
