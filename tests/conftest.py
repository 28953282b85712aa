"""Fixtures shared by the whole suite."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_traces() -> Path:
    """Return the folder of real traces that nobody here made, where it lies beside the checkout."""
    folder = ROOT.parent / "shared" / "traces"
    if not folder.is_dir():
        pytest.skip("no folder of real traces beside the checkout")
    return folder
