"""Which tests `make test` chooses, and what `make gpu` runs."""

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
    side_by_side, one_by_one = re.findall(r'pytest .*-m "(.*)"', done.stdout)
    for is_slow, is_alone, wants_gpu in itertools.product([False, True], repeat=3):
        marks = {"slow": is_slow, "alone": is_alone, "gpu": wants_gpu}
        runs = (slow or not is_slow) and (gpu or not wants_gpu)
        assert eval(side_by_side, marks) == (runs and not is_alone and not wants_gpu), (marks, side_by_side)
        assert eval(one_by_one, marks) == (runs and (is_alone or wants_gpu)), (marks, one_by_one)


@pytest.mark.parametrize(
    ("devices", "gpu"),
    [(("nvidia0",), True), (("nvidia3", "nvidiactl"), True), (("nvidiactl", "nvidia-uvm", "nvidia-caps"), False)],
)
def test_a_gpu_is_seen_whatever_its_number(tmp_path, devices, gpu):
    if shutil.which("make") is None:
        pytest.skip("no make here")
    for name in devices:
        (tmp_path / name).touch()
    words = ["make", "--dry-run", "test", f"DEVICES={tmp_path}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    _, one_by_one = re.findall(r'pytest .*-m "(.*)"', done.stdout)
    assert ("(alone or gpu)" in one_by_one) == gpu


def test_the_study_on_a_gpu_is_a_call_of_its_own():
    if shutil.which("make") is None:
        pytest.skip("no make here")
    for target in ("gpu", "gpu-study"):
        words = ["make", "--dry-run", target, "EVIDENCE=somewhere"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        (called,) = re.findall(r"benchmarks/gpu_evidence\.py(.*)", done.stdout)
        assert called.split() == ["--study"] * (target == "gpu-study") + ["--out", "somewhere"]
