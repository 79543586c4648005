"""Fixtures for the whole suite: where the real volumes are, scripts as modules, a fair share of the cores, and tests that need a GPU."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU are skipped with a reason where there is none: left out silently, they would seem to pass."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def share_of_the_cores(request: pytest.FixtureRequest) -> None:
    """Each of several test processes takes its part of the threads: all with all of them are slower than one alone."""
    processes = getattr(request.config, "workerinput", {"workercount": 1})["workercount"]
    torch.set_num_threads(max(1, torch.get_num_threads() // processes))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes beside the checkout; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real volumes are not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a file of scripts/ by its name; they import one another as files of one folder do."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    return import_module
