"""Runs ``numerics.py`` and ``swapping.py`` in processes of their own: Triton decides at its import how kernels run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
pytest.importorskip("torch")


def run(file: str, **environment: str) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).with_name(file))]
    variables = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"} | environment
    done = subprocess.run(words, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize("file", ["numerics.py", "swapping.py"])
def test_by_the_interpreter(file):
    run(file, TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.parametrize("file", ["numerics.py", "swapping.py"])
def test_on_a_gpu(file):
    run(file)
