"""``tokprof fertility`` as a user meets it."""

import contextlib
import io
import json
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tokprof.profiler.cli import main


def tokprof(*arguments, folder, columns=100):
    """Run the command line in this process, as :func:`tokprof.profiler.cli.main` does for a user."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "argv", ["tokprof", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture
def folder(tmp_path):
    """A working folder with a tokenizer of bytes in ``bytes/`` and another in ``pairs/``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for name, merges in (("bytes", []), ("pairs", [("e", "t"), ("r", "et")])):
        vocabulary = {s: i for i, s in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        (tmp_path / name).mkdir()
        backend.save(str(tmp_path / name / "tokenizer.json"))
    return tmp_path


def refused(*arguments, folder):
    done = tokprof("fertility", *arguments, folder=folder)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_the_built_in_corpus_under_two_tokenizers_fits_the_terminal(folder):
    done = tokprof("fertility", "-t", "bytes", "-t", "pairs", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "bytes: the same tasks take" in done.stdout
    assert "pairs: the same tasks take" in done.stdout
    assert "12 tasks" in done.stdout
    assert "Tazmus" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    wide = tokprof("fertility", "-t", "bytes", folder=folder, columns=140).stdout
    assert "Rényi" in wide
    narrow = tokprof("fertility", "-t", "bytes", folder=folder, columns=80).stdout
    assert max(map(len, narrow.splitlines())) <= 80
    assert {"C", "Go", "JavaScript"} <= {line.split()[0] for line in narrow.splitlines() if line.strip()}
    assert "training" in narrow
    assert "…" not in narrow
    assert "Rényi" not in done.stdout


def test_nothing_is_a_figure_and_what_was_not_compared_is_a_dash(folder):
    for task, name in (("one", "python.py"), ("one", "go.go"), ("two", "rust.rs")):
        (folder / "c" / task).mkdir(parents=True, exist_ok=True)
        (folder / "c" / task / name).write_text("let value = 3\n")
    text = tokprof("fertility", "c", "-t", "bytes", folder=folder, columns=140).stdout
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert rows["Go"].count("0.0%") == 2  # tabs, and bytes that the vocabulary lacks
    assert rows["Rust"].count("–") == 3
    assert "–: not compared" in text
    assert "–" not in tokprof("fertility", "-t", "bytes", "--languages", "go", folder=folder).stdout


def test_as_data(folder):
    done = tokprof(
        "fertility", "-t", "bytes", "--languages", "C++, tazmus", "--tasks", "luhn,run-length", "--json", folder=folder
    )
    data = json.loads(done.stdout)
    found = {row["language"]: row for row in data["tokenizers"][0]["languages"]}
    assert set(found) == {"cpp", "tazmus", "python"}  # the pivot comes along
    assert found["tazmus"]["verbosity"]["value"] == 1
    assert found["cpp"]["shared_task_count"] == 2
    assert found["cpp"]["exposure"]["label"] == "unknown"  # nothing is known of a folder
    assert [note["code"] for note in data["notes"]] == ["few-tasks", "made-language"]
    assert data["headlines"][0].startswith("bytes: the same tasks take")


def test_a_page(folder):
    pytest.importorskip("bokeh")
    arguments = ("-t", "bytes", "--tasks", "luhn", "--html", "f.html")
    done = tokprof("fertility", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "as a picture: f.html" in done.stdout
    assert "Tazmus" in (folder / "f.html").read_text(encoding="utf-8")
    assert "f.html exists already" in refused(*arguments, folder=folder)
    assert tokprof("fertility", *arguments, "--force", folder=folder).returncode == 0


def test_a_file_of_json_lines_without_a_pivot(folder):
    rows = [{"text": "let x = 1", "language": "rust"}, {"text": "x := 1", "language": "[red]no[/red]"}]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = tokprof("fertility", "c.jsonl", "-t", "bytes", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "has nothing in Python" in done.stdout
    assert "[red]no[/red]" in done.stdout
    done = tokprof("fertility", "c.jsonl", "-t", "bytes", "--pivot", "Rust", folder=folder)
    assert "names no tasks" in done.stdout
    said = refused("c.jsonl", "-t", "bytes", "--pivot", "klingon", folder=folder)
    assert "--pivot klingon: c.jsonl has nothing in that language; it has " in said
    assert "rust" in said


def test_mistakes_are_one_line(folder):
    assert "'nothing' is no tokenizer (smollm2" in refused("-t", "nothing", folder=folder)
    assert "SantaCoder: no tokenizer of it is known" in refused("-t", "santacoder", folder=folder)
    (folder / "empty").mkdir()
    assert "empty: this folder holds no tokenizer.json" in refused("-t", "empty", folder=folder)
    assert "gone: no such file or folder" in refused("gone", "-t", "bytes", folder=folder)
    assert "has no language klingon" in refused("-t", "bytes", "--languages", "klingon", folder=folder)
    assert "--tasks ' ,' names nothing" in refused("-t", "bytes", "--tasks", " ,", folder=folder)
    assert "there is no folder missing; choose another --html" in refused("--html", "missing/x.html", folder=folder)
    (folder / "one.py").write_text("print(1)\n")
    assert "one source file; files are read as a folder" in refused("one.py", "-t", "bytes", folder=folder)
    (folder / "bad.gguf").write_text("no")
    assert "bad.gguf: not readable as GGUF" in refused("-t", "bad.gguf", folder=folder)
