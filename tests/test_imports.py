"""Imports go one way, and nothing heavy is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Which rooms a room may import besides itself; commands wire them all.
ROOMS = {
    "kernels",
    "models",
    "errors",
    "record",
    "store",
    "studies",
    "study_samples",
    "environment",
    "sensors",
    "trace",
    "analysis",
    "measure",
    "report",
}
ALLOWED = {
    "kernels": set(),
    "models": set(),
    "errors": set(),
    "record": set(),
    "store": {"errors", "record"},
    "environment": {"record", "sensors", "errors"},
    "studies": {"errors", "record", "environment"},
    "study_samples": {"errors", "record", "sensors", "studies"},
    "sensors": {"errors", "record"},
    "trace": {"errors", "record", "store"},
    "analysis": {"models", "errors", "record", "studies", "study_samples", "trace"},
    "measure": {
        "kernels",
        "models",
        "errors",
        "record",
        "store",
        "studies",
        "study_samples",
        "environment",
        "sensors",
        "trace",
        "analysis",
    },
    "report": {"errors", "record", "studies", "trace", "analysis"},
    "commands": ROOMS | {"commands"},
    "cli": {"commands", "errors"},
    "__main__": {"cli"},
}
HEAVY = {"torch", "transformers", "scipy", "bokeh", "triton", "peft", "accelerate", "gguf", "pyarrow", "viztracer"}


def modules():
    for top in ("profiler", "models", "kernels"):
        yield from sorted((ROOT / top).rglob("*.py"))


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in ("models", "kernels"):
        return parts[0]
    return parts[1] if len(parts) > 1 else "profiler"


def imports(path, *, top_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(n) for node in ast.walk(tree) if _is_type_checking(node) for n in ast.walk(node)}
    nodes = tree.body if top_only else list(ast.walk(tree))
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module


def _is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", list(modules()), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_arrow_runs_backwards(path):
    room = room_of(path)
    for name in imports(path):
        if not name.startswith("tokprof."):
            continue
        parts = name.split(".")
        other = parts[1] if parts[1] in ("models", "kernels") else (parts[2] if len(parts) > 2 else "profiler")
        if room in (other, "__init__"):
            continue
        assert other in ALLOWED[room], f"{path.relative_to(ROOT)} ({room}) imports {name} ({other})"


@pytest.mark.parametrize("path", list(modules()), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path):
    names = set(imports(path, top_only=True))
    if room_of(path) == "kernels":
        # A file of Triton kernels is made of torch and Triton, so it is itself what others import where they use it.
        assert not {name.partition(".")[0] for name in names} & (HEAVY - {"torch", "triton"})
    else:
        assert not {name.partition(".")[0] for name in names} & HEAVY
        assert not any(name.startswith("tokprof.kernels") for name in names)


def test_the_test_sees_a_backward_arrow(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from tokprof.profiler.cli import main\n")
    assert list(imports(file)) == ["tokprof.profiler.cli"]
    assert "cli" not in ALLOWED["record"]


def test_help_and_show_load_nothing_heavy():
    script = (
        "import sys; sys.argv = ['tokprof', '--help']\n"
        "from tokprof.profiler.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set(sys.modules) & {HEAVY | {'rich.progress'}!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_public_names_exist_and_are_documented():
    import tokprof.profiler as door

    assert 8 <= len(door.__all__) <= 14
    for name in door.__all__:
        assert getattr(door, name).__doc__, name
    with pytest.raises(AttributeError, match="no public name"):
        _ = door.nothing
