"""Corpora from everywhere they come from, and each way they can be wrong."""

import json
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokprof.models import corpora
from tokprof.models.corpora import Corpus, Item, load_corpus
from tokprof.models.errors import ModelError


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def refused(source, **filters) -> str:
    with pytest.raises(ModelError) as error:
        load_corpus(None if source is None else str(source), **filters)
    message = str(error.value)
    assert "\n" not in message
    return message


def found(corpus: Corpus) -> dict:
    return {(item.task, item.language): item.text for item in corpus.items}


# ------------------------------------------------------------------------------------------------------------ built in


def test_the_built_in_corpus_is_parallel_and_has_its_synthetic_language():
    corpus = load_corpus(None)
    assert len(corpus.tasks) == 12
    assert {"python", "tazmus"} <= set(corpus.languages)
    for language in ("python", "tazmus"):
        assert {item.task for item in corpus.items if item.language == language} == set(corpus.tasks)
    assert load_corpus(None).digest == corpus.digest


def test_filters_take_names_and_say_what_is_missing():
    corpus = load_corpus(None, languages=["Python"], tasks=["luhn"])
    assert [(item.task, item.language) for item in corpus.items] == [("luhn", "python")]
    assert "has no language klingon; it has" in refused(None, languages=["klingon", "python"])
    assert "has no task sudoku; it has balanced-brackets" in refused(None, tasks=["sudoku"])


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_of_tasks(tmp_path):
    write(
        tmp_path,
        **{
            "luhn/gleam.gleam": "a\n",
            "luhn/C++.cc": "b\n",
            "luhn/expected.txt": "no source",
            "luhn/.hidden": "no",
            "luhn/mylang.myl": "c\n",
            "sieve/csharp/Program.cs": "d\n",
            "sieve/csharp/lib/Other.cs": "e\n",
            "sieve/csharp/__pycache__/x.pyc": "no",
            "README.md": "no task",
        },
    )
    corpus = load_corpus(str(tmp_path))
    assert found(corpus) == {
        ("luhn", "gleam"): "a\n",
        ("luhn", "cpp"): "b\n",
        ("luhn", "mylang"): "c\n",
        ("sieve", "csharp"): "d\ne\n",
    }
    assert corpus.name == str(tmp_path)


def test_line_ends_are_kept_as_they_are(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "c.c").write_bytes(b"a\r\nb\n")
    assert load_corpus(str(tmp_path)).items[0].text == "a\r\nb\n"


def test_a_solution_with_the_name_of_no_language_is_refused(tmp_path):
    write(tmp_path, **{"luhn/main.py": "a"})
    message = refused(tmp_path)
    assert "main.py: 'main' is no known language" in message
    assert "python.py" in message


def test_empty_and_unknown_layouts_are_refused(tmp_path):
    assert "not a corpus: expected task/language.ext" in refused(tmp_path)
    (tmp_path / "task").mkdir()
    assert "holds no text" in refused(tmp_path)
    write(tmp_path, **{"task/c.c": ""})
    assert "holds no text" in refused(tmp_path)
    assert "no such file or folder" in refused(tmp_path / "nowhere")


def test_a_file_that_is_not_utf_8_is_named_with_the_byte(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "c.c").write_bytes(b"ab\xff")
    assert f"{tmp_path / 't' / 'c.c'}: not UTF-8 text (byte 2)" in refused(tmp_path)


# ------------------------------------------------------------------------------------------------------------ Exercism


def exercise(root: Path, slug: str, examples: dict[str, str], *, listed: bool = True) -> None:
    folder = f"exercises/practice/{slug}"
    files = {f"{folder}/{name}": text for name, text in examples.items()}
    config = json.dumps({"files": {"solution": ["x"], "test": ["y"], "example": list(examples)}})
    write(root, **files, **({f"{folder}/.meta/config.json": config} if listed else {}))
    write(root, **{f"{folder}/luhn_test.x": "a test is no solution"})


def test_exercism_tracks_give_the_solutions_that_their_configs_name(tmp_path):
    exercise(tmp_path / "python", "luhn", {".meta/example.py": "p\n"})
    exercise(tmp_path / "csharp", "luhn", {".meta/Example.cs": "c\n", ".meta/More.cs": "d\n"})
    exercise(tmp_path / "wren", "luhn", {".meta/proof.ci.wren": "w\n"})
    exercise(tmp_path / "x86-64-assembly", "luhn", {".meta/example.asm": "m\n"}, listed=False)
    exercise(tmp_path / "python", "stub", {})
    (tmp_path / "website").mkdir()
    corpus = load_corpus(str(tmp_path))
    assert found(corpus) == {
        ("luhn", "python"): "p\n",
        ("luhn", "csharp"): "c\nd\n",
        ("luhn", "wren"): "w\n",
        ("luhn", "assembly"): "m\n",
    }
    assert found(load_corpus(str(tmp_path / "python"))) == {("luhn", "python"): "p\n"}


def test_an_exercise_whose_config_names_no_solution_is_refused(tmp_path):
    exercise(tmp_path, "luhn", {".meta/example.py": "p\n"})
    config = tmp_path / "exercises/practice/luhn/.meta/config.json"
    config.write_text('{"files": {}}')
    assert f"{config}: names no solution" in refused(tmp_path)
    config.write_text('{"files": {"example": [".meta/gone.py"]}}')
    assert "gone.py: No such file" in refused(tmp_path)
    for place in ("../../../secret.py", str(tmp_path / "secret.py")):
        (tmp_path / "secret.py").write_text("secret")
        config.write_text(json.dumps({"files": {"example": [place]}}))
        assert "which lies outside of the exercise" in refused(tmp_path)


# ---------------------------------------------------------------------------------------------------------- JSON lines


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_json_lines(tmp_path):
    rows = lines(
        tmp_path / "c.jsonl",
        {"text": "a", "language": "C++", "task": "t"},
        {"content": "b", "lang": "Klingon"},
        {"text": "c", "language": "go", "task": 7},
    )
    corpus = load_corpus(str(rows))
    assert found(corpus) == {("t", "cpp"): "a", (None, "klingon"): "b", ("7", "go"): "c"}
    assert corpus.tasks == ("7", "t")
    assert found(load_corpus(str(rows), languages=["KLINGON"])) == {(None, "klingon"): "b"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"language": "c"}, ":2: has no 'text' (nor 'content' nor 'code'); it has language"),
        ({"text": "x"}, ":2: has no 'language'"),
        ({"text": 3, "language": "c"}, ":2: text is int, not text"),
        ({"text": "x", "language": None}, ":2: language is NoneType, not text"),
        ({"text": "x", "language": "c", "task": []}, ":2: task is []"),
        ({"text": "\ud800", "language": "c"}, ":2: text holds half of a surrogate pair"),
        ([1], ":2: not an object"),
    ],
)
def test_a_line_without_its_keys_is_named(tmp_path, row, words):
    assert words in refused(lines(tmp_path / "c.jsonl", {"text": "a", "language": "c"}, row))


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "a", "language": "c"}\n\n{oops\n')
    assert f"{path}:3: not a line of JSON" in refused(path)
    path.write_text('{"text": "a", "language": "c"}\n' + "[" * 100_000)
    assert f"{path}:2: not a line of JSON" in refused(path)
    path.write_text("")
    assert "holds no text" in refused(path)
    path.write_bytes(b"\xff")
    assert "not UTF-8" in refused(path)


# ------------------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(monkeypatch):
    """Stand in for the datasets library: give it splits of rows, or an error to raise."""
    asked = []

    def install(answer):
        def load_dataset(name, config, *, streaming):
            assert streaming
            asked.append((name, config))
            if isinstance(answer, Exception):
                raise answer
            return answer

        module = types.ModuleType("datasets")
        module.load_dataset = load_dataset
        monkeypatch.setitem(sys.modules, "datasets", module)
        api = types.SimpleNamespace(dataset_info=lambda name, timeout: (name, timeout))
        module = types.ModuleType("huggingface_hub")
        module.HfApi = lambda: api
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        return asked

    return install


def test_a_data_set_of_the_hub_is_streamed_until_enough_is_there(hub, monkeypatch):
    taken = []

    def rows():
        for number in range(1000):
            taken.append(number)
            yield {"content": "x" * 10, "lang": "Python" if number % 2 else "Rust"}

    asked = hub({"test": [], "train": rows()})
    monkeypatch.setattr(corpora, "STREAMED_BYTE_COUNT", 30)
    corpus = load_corpus("bigcode/the-stack:v1", languages=["python"])
    assert asked == [("bigcode/the-stack", "v1")]
    assert [item.language for item in corpus.items] == ["python"] * 3
    assert len(taken) < 10


def test_a_hub_out_of_reach_is_one_line(hub, monkeypatch):
    hub(ConnectionError("no route\nto host"))
    message = refused("owner/name")
    assert "not to be had from the hub: no route; pass a folder" in message
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'tokprof[datasets]'" in refused("owner/name")


def test_a_row_of_the_hub_without_its_keys_is_named(hub):
    hub({"train": [{"text": "a"}]})
    assert "owner/name train row 0: has no 'language'" in refused("owner/name")


# ------------------------------------------------------------------------------------------------------------- digests

ITEMS = st.builds(
    Item,
    task=st.one_of(st.none(), st.text(max_size=3)),
    language=st.sampled_from(["c", "go"]),
    text=st.text(max_size=5),
    name=st.just(""),
)


@given(st.lists(ITEMS, max_size=5), st.randoms())
def test_the_digest_is_of_what_is_there_whatever_its_order(items, random):
    shuffled = random.sample(items, len(items))
    digest = Corpus(name="a", items=tuple(items)).digest
    assert Corpus(name="b", items=tuple(shuffled)).digest == digest
    more = (*items, Item(task="t", language="c", text="more", name=""))
    assert Corpus(name="a", items=more).digest != digest
