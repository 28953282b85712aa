"""Which tests `make test` chooses."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("slow", "gpu"), [(False, False), (False, True), (True, False), (True, True)])
def test_slow_tests_run_when_asked_and_gpu_tests_where_there_is_one(slow, gpu):
    if shutil.which("make") is None:
        pytest.skip("no make here")
    words = ["make", "--dry-run", "test", f"SLOW={'1' * slow}", f"GPU={'/dev/nvidia0' * gpu}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    (chosen,) = re.findall(r'pytest -m "(.*)"', done.stdout)
    for is_slow, wants_gpu in itertools.product([False, True], repeat=2):
        runs = not chosen or eval(chosen, {"slow": is_slow, "gpu": wants_gpu})
        assert runs == ((slow or not is_slow) and (gpu or not wants_gpu)), (is_slow, wants_gpu, chosen)
