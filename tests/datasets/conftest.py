"""Trees of empty files: a layout is names, no voxel is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segkit.datasets.base import Dataset, datasets


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files (a name ending in / is an empty folder) below a fresh root and returns it."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            if name.endswith("/"):
                path.mkdir(parents=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return tmp_path

    return make


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Dataset]:
    """A data set from the keys of a recipe; root is the test's folder, nothing is held out."""

    def make(name: str, **fields: Any) -> Dataset:
        return datasets.build({"name": name, "root": str(tmp_path), "split": {"test": 0}} | fields)

    return make
