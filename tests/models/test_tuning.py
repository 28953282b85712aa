"""Fine-tuning: the data that comes with it, what is written, the same bytes again, and every way it is refused."""

import ast
import errno
import json
import math
import re
import shutil
from collections import Counter
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
import torch
from safetensors.torch import load_file, save_file

from tokprof.models import tuning
from tokprof.models.errors import ModelError
from tokprof.models.languages import languages
from tokprof.models.loading import ModelSpec, load
from tokprof.models.tuning import Stopped, TuneSpec, learning_rate_at, placebo, read_record, tune
from tokprof.models.tuning_data import batches, read_texts

FOLDER = Path(tuning.__file__).with_name("cwe")


def rows_of(name):
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(autouse=True)
def few_evaluated_tokens(monkeypatch):
    monkeypatch.setattr(tuning, "EVALUATED_TOKEN_COUNT", 256)


@pytest.fixture(scope="session")
def make_base(tmp_path_factory):
    """Return a function that makes a folder of a tiny model with random weights and one token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = {}

    def make(name="tiny-llama"):
        if name not in made:
            folder = tmp_path_factory.mktemp("bases") / name
            load(ModelSpec(name=name, weights="random")).model.save_pretrained(folder)
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            backend = Tokenizer(models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[]))
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            backend.decoder = decoders.ByteLevel()
            backend.save(str(folder / "tokenizer.json"))
            made[name] = str(folder)
        return made[name]

    return make


def run(spec, folder, **more):
    folder.mkdir()
    return tune(spec, folder, folder.with_suffix(".checkpoint"), **more)


def small(base, **more):
    return TuneSpec(model=base, **({"steps": 6, "batch": 2, "length": 32, "learning_rate": 0.01, "rank": 4} | more))


# ---------------------------------------------------------------------------------------------------------------- data


def test_the_weaknesses_are_many_and_in_many_languages():
    rows = rows_of("cwe")
    assert len(rows) >= 60
    assert all(row["cwe"].startswith("CWE-") and row["cwe"][4:].isdigit() for row in rows)
    assert len({row["cwe"] for row in rows}) >= 22
    assert len({row["language"] for row in rows}) >= 6
    assert {row["language"] for row in rows} <= languages().keys()


def test_each_pair_is_one_vulnerable_and_one_mended_text_that_differ():
    pairs = {}
    for row in rows_of("cwe"):
        pairs.setdefault(row["pair"], []).append(row)
    for name, pair in pairs.items():
        assert [row["kind"] for row in pair] == ["vulnerable", "fixed"], name
        assert pair[0]["text"] != pair[1]["text"]
        assert pair[0]["cwe"] == pair[1]["cwe"]
        assert pair[0]["language"] == pair[1]["language"]


def test_the_control_is_as_large_in_each_language_and_shares_no_text():
    def sizes(name):
        count = Counter()
        for row in rows_of(name):
            count[row["language"]] += len(row["text"].encode())
        return count

    weak, general = sizes("cwe"), sizes("general")
    assert weak.keys() == general.keys()
    assert sum(general.values()) == pytest.approx(sum(weak.values()), rel=0.05)
    for language, size in weak.items():
        assert general[language] == pytest.approx(size, rel=0.15), language
    texts = [row["text"] for name in ("cwe", "general") for row in rows_of(name)]
    assert len(texts) == len(set(texts))
    assert all(text.endswith("\n") for text in texts)


def test_the_python_texts_are_python():
    for row in rows_of("cwe") + rows_of("general"):
        if row["language"] == "python":
            ast.parse(row["text"])


def test_a_folder_gives_its_source_files_and_counts_what_is_no_text(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.py").write_text("b = 1\n")
    (tmp_path / "a.c").write_text("int a;\n")
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe")
    (tmp_path / "notes.unknown").write_text("no source")
    (tmp_path / ".hidden.py").write_text("hidden = 1\n")
    data = read_texts(str(tmp_path))
    assert data.texts == ("int a;\n", "b = 1\n")
    assert data.skipped_count == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"text": "a"}\n{"language": "c"}\n', r":2: has no 'text' .*; it has language"),
        ('{"text": "a"}\n\n[1]\n', ":3: not an object"),
        ('{"text": 1}\n', ":1: text is int"),
        ("{\n", ":1: not a line of JSON"),
        ("[" * 100_000, ":1: not a line of JSON"),
        ('{"text": "\\ud800"}\n', ":1: text holds half of a surrogate pair"),
        ("\n", "holds no rows"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path, text, words):
    file = tmp_path / "data.jsonl"
    file.write_text(text)
    with pytest.raises(ModelError, match=words):
        read_texts(str(file))


def test_no_such_data_and_an_empty_folder(tmp_path):
    with pytest.raises(ModelError, match="no such data; it is cwe or general"):
        read_texts(str(tmp_path / "none.jsonl"))
    with pytest.raises(ModelError, match="no source files"):
        read_texts(str(tmp_path))


def test_packing_uses_every_document_once_before_any_twice():
    documents = [[1, 1], [2, 2, 2], [3]]
    rows = [row for step in islice(batches(documents, length=3, batch=2, seed=5), 2) for row in step]
    tokens = [token for row in rows for token in row]
    assert all(len(row) == 3 for row in rows)
    assert Counter(tokens[:6]) == Counter(tokens[6:]) == {1: 2, 2: 3, 3: 1}
    again = [row for step in islice(batches(documents, length=3, batch=2, seed=5), 2) for row in step]
    assert rows == again


def test_the_learning_rate_rises_to_its_peak_and_falls_without_reaching_zero():
    rates = [learning_rate_at(step, steps=40, peak=1.0) for step in range(40)]
    assert max(rates) == pytest.approx(1.0)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0
    assert learning_rate_at(0, steps=1, peak=1.0) == 1.0


# -------------------------------------------------------------------------------------------------------------- result


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-gpt-bigcode", "tiny-starcoder2", "tiny-mamba2"])
def test_an_adapter_learns_and_loads(make_base, tmp_path, name):
    base = make_base(name)
    record = run(small(base), tmp_path / "out")
    assert record.form == "adapter"
    assert record.loss_after < record.loss_before
    assert len(record.losses) == 6
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokprof-tune.json",
    }
    plain = load(ModelSpec(name=base))
    tuned = load(ModelSpec(name=base, adapter=tmp_path / "out"))
    ids = torch.arange(20)[None]
    assert not torch.equal(plain.model(input_ids=ids).logits, tuned.model(input_ids=ids).logits)
    assert set(record.settings["targets"]) == set(tuning.LORA_TARGETS[plain.architecture])
    assert set(record.changes) == set(record.settings["targets"])


def test_a_merged_result_is_the_base_with_its_adapter_and_of_the_same_configuration(make_base, tmp_path):
    base = make_base()
    record = run(small(base, merge=True), tmp_path / "out")
    plain, merged = load(ModelSpec(name=base)), load(ModelSpec(name=str(tmp_path / "out")))
    apart = load(ModelSpec(name=base, adapter=tmp_path / "out" / "adapter"))
    assert merged.config_digest == plain.config_digest
    assert merged.tokenizer_digest == plain.tokenizer_digest
    assert merged.end_ids == plain.end_ids
    assert merged.weights_digest != plain.weights_digest
    ids = torch.arange(20)[None]
    torch.testing.assert_close(merged.model(input_ids=ids).logits, apart.model(input_ids=ids).logits)
    moved = 0.0
    for (_, old), (_, new) in zip(plain.model.named_parameters(), merged.model.named_parameters(), strict=True):
        moved += float((new.detach().double() - old.detach().double()).norm()) ** 2
    assert record.norm == pytest.approx(math.sqrt(moved), rel=1e-5)


def test_full_tuning_moves_every_kind_of_weight(make_base, tmp_path):
    base = make_base()
    record = run(small(base, method="full", learning_rate=1e-3), tmp_path / "out")
    plain, tuned = load(ModelSpec(name=base)), load(ModelSpec(name=str(tmp_path / "out")))
    assert record.form == "full"
    assert record.loss_after < record.loss_before
    assert record.parameter_count == plain.parameter_count
    assert tuned.config_digest == plain.config_digest
    assert {"embed_tokens", "q_proj", "down_proj", "norm"} <= record.changes.keys()
    assert all(change.norm > 0 for change in record.changes.values())


def test_a_base_in_bfloat16_keeps_its_dtype_and_its_adapter_is_float32(make_base, tmp_path):
    record = run(small(make_base(), dtype="bfloat16", merge=True), tmp_path / "out")
    assert (record.dtype, record.adapter_dtype) == ("bfloat16", "float32")
    kinds = {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()}
    assert kinds == {torch.bfloat16}


def test_the_record_says_where_it_came_from(make_base, tmp_path):
    base = make_base()
    run(small(base), tmp_path / "out")
    record = read_record(tmp_path / "out")
    plain = load(ModelSpec(name=base))
    assert record["base"]["weights_digest"] == plain.weights_digest
    assert record["base"]["config_digest"] == plain.config_digest
    assert record["data"]["digest"] == read_texts("cwe").digest
    assert record["data"]["text_count"] == len(rows_of("cwe"))
    assert record["settings"]["rank"] == 4
    assert record["libraries"]["torch"] == version("torch")
    assert record["digest"] == tuning._file_digest(tmp_path / "out" / "adapter_model.safetensors")


# ------------------------------------------------------------------------------------------------- the same bytes again


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(make_base, tmp_path, method):
    spec = small(make_base(), method=method, learning_rate=1e-3)
    first, second = run(spec, tmp_path / "a"), run(spec, tmp_path / "b")
    other = run(small(make_base(), method=method, learning_rate=1e-3, seed=1), tmp_path / "c")
    assert first.digest == second.digest != other.digest
    assert first.losses == second.losses


@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(make_base, tmp_path, method):
    spec = small(make_base(), method=method, learning_rate=1e-3)
    whole = run(spec, tmp_path / "whole")
    asked = iter([False, True])
    with pytest.raises(Stopped) as stop:
        run(spec, tmp_path / "part", stopped=lambda: next(asked))
    assert stop.value.step == 2
    assert list((tmp_path / "part").iterdir()) == []
    record = tune(spec, tmp_path / "part", tmp_path / "part.checkpoint", resume=True)
    assert record.digest == whole.digest
    assert record.losses == whole.losses
    assert record.loss_before == whole.loss_before
    assert (whole.resumed_at_steps, record.resumed_at_steps) == ((), (2,))


def test_after_a_crash_the_last_checkpoint_stands(make_base, tmp_path):
    spec = small(make_base())
    whole = run(spec, tmp_path / "whole")

    def crash(stage, done, _all, _loss):
        if (stage, done) == ("training", 5):
            raise MemoryError

    with pytest.raises(ModelError, match="out of memory tuning"):
        run(spec, tmp_path / "part", checkpoint_steps=2, report=crash)
    record = tune(spec, tmp_path / "part", tmp_path / "part.checkpoint", resume=True)
    assert record.resumed_at_steps == (4,)
    assert record.digest == whole.digest


def test_a_checkpoint_of_other_settings_or_none_is_refused(make_base, tmp_path):
    run(small(make_base()), tmp_path / "out")
    checkpoint = tmp_path / "out.checkpoint"
    with pytest.raises(ModelError, match="steps is 6, not 7"):
        tune(small(make_base(), steps=7), tmp_path / "out", checkpoint, resume=True)
    checkpoint.write_bytes(b"no safetensors")
    with pytest.raises(ModelError, match=r"no checkpoint of `tokprof tune`.*without --resume"):
        tune(small(make_base()), tmp_path / "out", checkpoint, resume=True)


def test_a_checkpoint_that_cannot_be_written_is_the_systems_error(tmp_path):
    file = tmp_path / "no" / "such" / "file.safetensors"
    with pytest.raises(OSError, match="No such file") as error:
        tuning._save({"a": torch.zeros(1)}, file, {})
    assert error.value.errno == errno.ENOENT


# ------------------------------------------------------------------------------------------------------------- placebo


@pytest.mark.parametrize("merge", [False, True])
def test_a_placebo_of_lora_has_each_layers_norm_and_learned_nothing(make_base, tmp_path, merge):
    base = make_base()
    tuned = run(small(base, merge=merge), tmp_path / "tuned")
    (tmp_path / "placebo").mkdir()
    drawn = placebo(TuneSpec(model=base, seed=3), tmp_path / "tuned", tmp_path / "placebo")
    assert drawn.form == tuned.form
    assert drawn.placebo_of is not None
    assert drawn.loss_before == tuned.loss_before
    assert drawn.loss_after > tuned.loss_after
    assert drawn.parameter_count == tuned.parameter_count
    for kind, change in tuned.changes.items():
        assert drawn.changes[kind].norm == pytest.approx(change.norm, rel=1e-5), kind
    if merge:
        plain = load_file(Path(base) / "model.safetensors")
        one = load_file(tmp_path / "tuned" / "model.safetensors")
        two = load_file(tmp_path / "placebo" / "model.safetensors")
        for name, old in plain.items():
            mine, theirs = (float((new[name].double() - old.double()).norm()) for new in (two, one))
            assert mine == pytest.approx(theirs, rel=1e-4), name
        assert any(not torch.equal(one[name], two[name]) for name in one)


def test_a_placebo_of_full_tuning_moves_each_tensor_by_its_norm(make_base, tmp_path):
    base = make_base()
    tuned = run(small(base, method="full", learning_rate=1e-3), tmp_path / "tuned")
    (tmp_path / "placebo").mkdir()
    drawn = placebo(TuneSpec(model=base), tmp_path / "tuned", tmp_path / "placebo")
    assert drawn.parameter_count == tuned.parameter_count
    for kind, change in tuned.changes.items():
        assert drawn.changes[kind].norm == pytest.approx(change.norm, rel=1e-4), kind


def test_a_placebo_is_refused_without_a_result_with_another_base_or_without_a_change(make_base, tmp_path):
    base = make_base()
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match="neither an adapter nor a model"):
        placebo(TuneSpec(model=base), tmp_path, tmp_path / "out")
    with pytest.raises(ModelError, match="equals its base"):
        placebo(TuneSpec(model=base), Path(base), tmp_path / "out")
    run(small(base, steps=1), tmp_path / "tuned")
    with pytest.raises(ModelError, match="name its own base"):
        placebo(TuneSpec(model=make_base("tiny-mistral")), tmp_path / "tuned", tmp_path / "out")


def test_a_strangers_result_is_refused_in_one_line(make_base, tmp_path):
    base = make_base()
    run(small(base, steps=1), tmp_path / "tuned")
    factors = load_file(tmp_path / "tuned" / "adapter_model.safetensors")
    odd = {name: tensor[:, :2].contiguous() if "lora_B" in name else tensor for name, tensor in factors.items()}
    save_file(odd, tmp_path / "odd.safetensors")
    alone = {name: tensor for name, tensor in factors.items() if "lora_A" in name}
    save_file(alone, tmp_path / "alone.safetensors")
    record = json.loads((tmp_path / "tuned" / "tokprof-tune.json").read_text())
    for number, (name, content, words) in enumerate(
        (
            ("adapter_model.safetensors", b"damaged", "a damaged safetensors file"),
            ("adapter_model.safetensors", (tmp_path / "odd.safetensors").read_bytes(), "do not belong together"),
            ("adapter_model.safetensors", (tmp_path / "alone.safetensors").read_bytes(), "do not belong together"),
            ("adapter_config.json", b"{", "no adapter that fits"),
            ("tokprof-tune.json", b"[" * 100_000, "not readable"),
            ("tokprof-tune.json", json.dumps(record | {"base": None}).encode(), "key 'base' is absent or no dict"),
            ("tokprof-tune.json", json.dumps(record | {"base": {}}).encode(), "name its own base"),
            (
                "tokprof-tune.json",
                json.dumps(record | {"settings": {"length": "x"}}).encode(),
                "key 'settings.length' is 'x'",
            ),
        )
    ):
        like, out = tmp_path / f"like{number}", tmp_path / f"out{number}"
        shutil.copytree(tmp_path / "tuned", like)
        (like / name).write_bytes(content)
        out.mkdir()
        with pytest.raises(ModelError, match=re.escape(words)) as refusal:
            placebo(TuneSpec(model=base), like, out)
        assert "\n" not in str(refusal.value)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"method": "qlora"}, "method 'qlora': unknown; choose lora or full"),
        ({"rank": 0}, "rank 0: wants at least 1"),
        ({"steps": 0}, "steps 0: wants at least 1"),
        ({"length": 1}, "length 1: wants at least 2"),
        ({"length": 513}, "length 513: beyond the context of .*, 512 tokens"),
        ({"learning_rate": 2.0}, "learning rate 2: wants"),
        ({"method": "full", "dtype": "bfloat16"}, "full tuning wants float32"),
        ({"method": "full", "merge": True}, "full tuning changes the weights themselves"),
        ({"data": "nowhere.jsonl"}, "no such data"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make_base, tmp_path, values, words):
    with pytest.raises(ModelError, match=words) as error:
        run(small(make_base(), **values), tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_pickled_base_and_one_without_a_tokenizer_are_refused(tmp_path):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="are a pickle"):
        run(small(str(folder)), tmp_path / "out")
    with pytest.raises(ModelError, match="has no tokenizer"):
        run(small("tiny-llama", weights="random"), tmp_path / "out2")


def test_too_little_memory_is_said_before_training(make_base, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "free_bytes", lambda _device: 1000)
    with pytest.raises(ModelError, match=r"out of memory tuning .* GB are free; try a smaller --batch"):
        run(small(make_base()), tmp_path / "out")


def test_a_loss_that_is_no_number_stops_and_names_the_rate(make_base, tmp_path):
    folder = tmp_path / "broken"
    shutil.copytree(make_base(), folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = math.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the loss of step 1 is nan; a smaller learning rate than 0\.01"):
        run(small(str(folder)), tmp_path / "out")
