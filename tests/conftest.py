"""Fixtures for the whole suite: where the real volumes are, and one thread, so that numbers repeat."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes beside the checkout; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real volumes are not at {SHARED_DATA}")
    return SHARED_DATA
