"""Fixtures of the tests that read traces."""

import sys
from pathlib import Path

import pytest

from tokprof.profiler.trace.reader import read_trace

sys.path.insert(0, str(Path(__file__).parent))
from trace_makers import SCANNERS, use_scanner


@pytest.fixture(params=SCANNERS, scope="module")
def scanner(request):
    """Read by the native scanner, then by the one in Python."""
    with pytest.MonkeyPatch.context() as patch:
        use_scanner(request.param, patch)
        yield request.param


@pytest.fixture
def read(tmp_path):
    """Return a function that writes bytes to a file and reads them as a trace."""

    def read(content, name="t.json"):
        path = tmp_path / name
        path.write_bytes(content)
        return read_trace(path, cache=False)

    return read
