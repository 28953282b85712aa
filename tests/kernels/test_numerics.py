"""Runs ``numerics.py`` and ``swapping.py`` in a process of their own: Triton decides at its import how kernels run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
pytest.importorskip("torch")


FILES = [str(Path(__file__).with_name(name)) for name in ("numerics.py", "swapping.py")]
# On a GPU nearly all the time is Triton's compiler, which takes one core: these, and the rest, run side by side.
PARTS = ("norms or activations or rotary", "attention", "skinny", "greedy or catalogue", "lora")


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, *FILES)
    variables = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"} | environment
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)


def finish(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate()
    assert process.returncode == 0, said[-8000:]
    assert " passed" in said


@pytest.mark.slow
def test_by_the_interpreter():
    finish(start(TRITON_INTERPRET="1"))


@pytest.mark.gpu
def test_on_a_gpu():
    rest = f"not ({' or '.join(PARTS)})"
    processes = [start("-k", part) for part in (*PARTS, rest)]
    try:
        for process in processes:
            finish(process)
    finally:
        for process in processes:
            process.kill()
            process.wait()
