"""Loading: random weights on the spot, folders, adapters, and every way it is refused."""

import copy
import json
import re
import shutil
import sys
import weakref
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers

from tokprof.models import loading
from tokprof.models.engine import TransformersEngine, _EndWatch
from tokprof.models.errors import ModelError
from tokprof.models.loading import ModelSpec, load, pull_weights, what_fits
from tokprof.models.prompts import PromptSpec, make_prompt
from tokprof.models.zoo import ZOO, entry

TINY = [name for name in ZOO if name.startswith("tiny-")]


def tiny(name="tiny-llama", **values):
    return load(ModelSpec(name=name, weights="random", **values))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TINY)
def test_random_weights_are_of_the_asked_dtype_and_compute(name, dtype):
    loaded = tiny(name, dtype=dtype)
    assert {str(p.dtype) for p in loaded.model.parameters()} == {f"torch.{dtype}"}
    logits = loaded.model(input_ids=torch.arange(12)[None]).logits
    assert torch.isfinite(logits).all()
    assert logits.float().std() > 0


@pytest.mark.parametrize("name", TINY)
def test_buffers_are_those_of_a_model_made_the_usual_way(name):
    values = dict(entry(name).config)
    usual = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    )
    expected = dict(usual.named_buffers())
    made = dict(tiny(name).model.named_buffers())
    assert made.keys() == expected.keys()
    for key, buffer in made.items():
        assert torch.equal(buffer, expected[key]), key


@pytest.mark.parametrize("name", TINY)
def test_steps_with_a_cache_equal_one_forward_without(name):
    loaded = tiny(name)
    ids = list(range(3, 23))
    forced = [40, 41, 42, 43]
    engine = TransformersEngine(loaded.model, ids, forced, batch_size=2)
    tokens = [engine.prefill()]
    tokens += [engine.decode(engine.forced(i)) for i in range(3)]
    whole = loaded.model(input_ids=torch.tensor([ids + forced[:3]])).logits[0, len(ids) - 1 :]
    assert [int(t[0, 0]) for t in tokens] == whole.argmax(-1).tolist()
    assert engine.sampled_ids()[0] == engine.sampled_ids()[1] == whole.argmax(-1).tolist()


@pytest.mark.parametrize("name", TINY)
def test_a_rewound_cache_gives_the_same_steps_again(name):
    engine = TransformersEngine(tiny(name).model, list(range(20)), [5, 6, 7])
    engine.prefill()
    engine.hold()
    runs = []
    for _ in range(3):
        engine.rewind()
        runs.append([int(engine.decode(engine.forced(i))) for i in range(3)])
    assert runs[0] == runs[1] == runs[2]
    assert len(engine.sampled_ids()[0]) == 4


def test_rewinding_holds_two_caches_at_once_and_release_one(monkeypatch):
    engine = TransformersEngine(tiny().model, list(range(20)), [5, 6, 7])
    engine.prefill()
    caches = [weakref.ref(engine._cache)]
    copied = copy.deepcopy

    def copy_counted(cache, *memo):
        if memo:
            return copied(cache, *memo)
        alive.append(sum(ref() is not None for ref in caches))
        made = copied(cache)
        caches.append(weakref.ref(made))
        return made

    alive = []
    monkeypatch.setattr(copy, "deepcopy", copy_counted)
    engine.hold()
    for _ in range(3):
        engine.rewind()
        engine.decode(engine.forced(0))
    assert alive == [1, 1, 1, 1]  # whatever is copied, nothing but it is there
    engine.release()
    assert sum(ref() is not None for ref in caches) == 1


def test_the_plain_loop_and_generate_give_the_same_tokens():
    loaded = tiny()
    engine = TransformersEngine(loaded.model, list(range(20)))
    token = engine.prefill()
    for _ in range(5):
        token = engine.decode(token)
    plain = engine.sampled_ids()
    forwards = []
    assert engine.generate(6, lambda: forwards.append(1)) == 6
    assert engine.sampled_ids() == plain
    assert len(forwards) == 6


def test_the_end_is_known_when_every_sequence_has_ended():
    loaded = tiny()
    engine = TransformersEngine(loaded.model, list(range(20)), batch_size=2)
    first = int(engine.prefill()[0, 0])
    ending = TransformersEngine(loaded.model, list(range(20)), batch_size=2, end_ids=[first])
    for _ in range(2):  # and forgotten when the next repetition begins
        ending.watch(3)
        assert ending.ended(torch.tensor([[first], [first + 1]])) is None
        assert ending.ended(torch.tensor([[first + 1], [first]])) == 2  # each ended at its own time
    ending.watch(1)
    assert ending.ended(ending.prefill()) == 1
    never = TransformersEngine(loaded.model, list(range(20)), end_ids=[511 if first != 511 else 510])
    never.watch(1)
    assert never.ended(never.prefill()) is None


def test_the_end_reaches_the_host_late_and_its_notes_allocate_nothing_there(monkeypatch):
    made = []

    class Event:
        arrived = False

        def __init__(self):
            made.append(self)

        def record(self, stream):
            assert stream == "stream of cuda:1"

        def query(self):
            return self.arrived

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "Event", Event)
    usual = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *words, **options: usual(*words, **(options | {"pin_memory": False})))
    watch = _EndWatch(frozenset([7]), 1, torch.device("cpu"))
    watch._device = torch.device("cuda:1")  # as on a GPU, whose work a CPU stands in for
    watch.begin(4)
    flags = watch._flags
    assert [watch.note(torch.tensor([[token]])) for token in (5, 7, 6)] == [None] * 3  # nothing has arrived
    for event in made:
        event.arrived = True
    assert watch.note(torch.tensor([[6]])) == 2
    watch.begin(4)
    assert len(made) == 4
    assert watch._flags is flags


def test_the_seed_decides_the_weights_and_the_digest_tells():
    assert tiny(seed=1).weights_digest == tiny(seed=1).weights_digest
    assert tiny(seed=1).weights_digest != tiny(seed=2).weights_digest
    assert tiny(seed=1).config_digest == tiny(seed=2).config_digest


@pytest.fixture
def folder(tmp_path):
    """A tiny model saved as people save them."""
    place = tmp_path / "model"
    tiny().model.save_pretrained(place)
    return place


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/maps")
def test_weights_lie_in_memory_of_the_processs_own_and_tied_ones_stay_tied(folder):
    model = load(ModelSpec(name=str(folder))).model
    mapped = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    spans = [tuple(int(end, 16) for end in span.split("-")) for span in mapped]
    for name, tensor in model.named_parameters():
        assert not any(low <= tensor.data_ptr() < high for low, high in spans), name
        assert tensor.data_ptr() % 64 == 0, name
    tied = model.config.tie_word_embeddings
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied


def test_a_folder_of_safetensors_loads_as_it_was_saved(folder):
    assert load(ModelSpec(name=str(folder))).weights_digest == tiny().weights_digest
    assert load(ModelSpec(name=str(folder))).source == "folder"


def pickle_only(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def damaged(folder):
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nonsense")


def other_config(folder):
    (folder / "config.json").write_text("{")


def remote_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}, "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('remote code ran')")


def nothing(folder):
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pickle_only, "pickle .pytorch_model.bin., which can run any code"),
        (damaged, "damaged|cannot be loaded"),
        (other_config, "not readable as JSON"),
        (remote_code, "cannot be loaded"),
        (nothing, "no .*safetensors here; pass --weights random"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_folder_is_refused_in_one_line(folder, change, message):
    change(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load(ModelSpec(name=str(folder)))
    assert "\n" not in str(caught.value)
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="nothing-like-it"), "no model of the zoo"),
        (ModelSpec(name="missing.gguf"), "no such file"),
        (ModelSpec(name="tiny-llama"), "pass --weights random"),
        (ModelSpec(name="tiny-llama", dtype="int3"), "choose one of float32"),
        (ModelSpec(name="tiny-llama", attention="x"), "choose one of sdpa"),
        (ModelSpec(name="tiny-llama", weights="random", attention="flash_attention_2"), "tiny-llama: .*[Ff]lash"),
    ],
)
def test_bad_words_are_refused_in_one_line(spec, message):
    with pytest.raises(ModelError, match=message) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_out_of_reach_is_one_line(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"not to be had from the model hub.*--weights random") as caught:
        load(ModelSpec(name="some-org/some-model"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError) as caught:
        load(ModelSpec(name="StarCoder2-3B"))
    way = "Without a network pass --weights random, a local folder, or SmolLM2-135M-Instruct, whose weights the "
    assert str(caught.value).endswith(f"{way}package index carries")  # and offers no name that was just typed
    with pytest.raises(ModelError, match=r"of the zoo with --weights random.*did you mean StarCoder2-3B or"):
        load(ModelSpec(name="bigcode/starcoder2-3b", weights="random"))


def test_what_fits_says_bytes(monkeypatch):
    monkeypatch.setattr(loading, "free_bytes", lambda _: 8_000_000_000)
    words = what_fits("codestral-22b-v0.1", "float32", "cpu")
    assert "44.5 GB of weights and 0.229 MB of cache per token in bfloat16" in words
    assert "8.0 GB are free, and in bfloat16 the largest model that fits is StarCoderBase-3B" in words


def test_a_model_larger_than_the_memory_is_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr(loading, "free_bytes", lambda _: 8_000_000_000)
    with pytest.raises(ModelError, match=r"out of memory with Codestral-22B-v0\.1: on cpu it wants 44\.5 GB"):
        load(ModelSpec(name="Codestral-22B-v0.1", weights="random", dtype="bfloat16"))
    monkeypatch.undo()
    assert 0 < loading.free_bytes("cpu") < 2**50


# ---------------------------------------------------------------------------------------------------------- adapters


@pytest.fixture
def adapter(tmp_path):
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    model = peft.get_peft_model(
        tiny().model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    model.save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


def test_an_adapter_gives_the_same_logits_merged_or_not(adapter):
    ids = torch.arange(16)[None]
    base = tiny().model(input_ids=ids).logits
    unmerged = tiny(adapter=adapter)
    merged = tiny(adapter=adapter, merge_adapter=True)
    assert torch.allclose(unmerged.model(input_ids=ids).logits, merged.model(input_ids=ids).logits, atol=1e-5)
    assert not torch.allclose(base, merged.model(input_ids=ids).logits, atol=1e-3)
    assert unmerged.parameter_count > merged.parameter_count == tiny().parameter_count
    assert unmerged.adapter_digest == merged.adapter_digest is not None
    assert unmerged.weight_bytes_per_token > merged.weight_bytes_per_token


def test_an_unmerged_adapter_keeps_float32_beside_bfloat16(adapter):
    loaded = tiny(adapter=adapter, dtype="bfloat16")
    kinds = {str(p.dtype) for n, p in loaded.model.named_parameters() if "lora" in n}
    assert kinds == {"torch.float32"}
    assert torch.isfinite(loaded.model(input_ids=torch.arange(8)[None]).logits).all()


def test_bad_adapters_are_refused(adapter, tmp_path):
    with pytest.raises(ModelError, match="this is an adapter; name its base model instead"):
        load(ModelSpec(name=str(adapter)))
    with pytest.raises(ModelError, match="no PEFT adapter here"):
        tiny(adapter=tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        tiny("tiny-gpt-bigcode", adapter=adapter)
    pickled = tmp_path / "pickled"
    shutil.copytree(adapter, pickled)
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickle"):
        tiny(adapter=pickled)


# ------------------------------------------------------------------------------------------------------------- real


@pytest.mark.slow
def test_the_real_small_model_is_what_the_zoo_says_and_writes_sense():
    weights = pull_weights(entry("SmolLM2-135M-Instruct"))
    assert (weights / "model.safetensors").is_file()
    loaded = load(ModelSpec(name="SmolLM2-135M-Instruct"))
    assert loaded.parameter_count == 134_515_008
    config = loaded.model.config.to_dict()
    for key, value in entry("SmolLM2-135M-Instruct").config.items():
        if key not in ("rope_parameters", "rms_norm_eps"):
            assert config[key] == value, key
    prompt = loaded.tokenizer.encode("The capital of France is")
    engine = TransformersEngine(loaded.model, prompt)
    token = engine.prefill()
    for _ in range(7):
        token = engine.decode(token)
    assert "Paris" in loaded.tokenizer.decode(engine.sampled_ids()[0])


# ----------------------------------------------------------------------------------------------------------- prompts


class Words:
    """A tokenizer of one token per character."""

    name = "characters"
    digest = "d"
    vocabulary_count = 128
    end_ids = ()

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def byte_counts(self, ids):
        return [1 for _ in ids]

    def fill_in_the_middle(self, prefix, suffix):
        return [1, *self.encode(prefix), 2, *self.encode(suffix), 3]


class Loaded:
    name = "model"
    tokenizer = Words()
    context_token_count = 100
    vocabulary_count = 128


class Wordless(Loaded):
    tokenizer = None


def prompt_of(text, tmp_path, loaded=Loaded, new=4, forced=True, **spec):
    file = tmp_path / "source.txt"
    file.write_text(text)
    return make_prompt(PromptSpec(source=file, **spec), loaded, new_token_count=new, forced=forced)


def text_of(ids):
    return "".join(map(chr, ids))


def test_what_follows_the_prompt_is_its_continuation(tmp_path):
    prompt = prompt_of("abcdefghij", tmp_path, token_count=3)
    assert (text_of(prompt.ids), text_of(prompt.continuation_ids)) == ("abc", "defg")
    assert prompt.byte_count == 3
    assert prompt.name == "source.txt"


def test_a_short_file_is_repeated_and_a_whole_one_keeps_its_end_for_decoding(tmp_path):
    prompt = prompt_of("abc", tmp_path, token_count=5)
    assert (text_of(prompt.ids), text_of(prompt.continuation_ids)) == ("abcab", "cabc")
    prompt = prompt_of("abcdefghij", tmp_path)
    assert (text_of(prompt.ids), text_of(prompt.continuation_ids)) == ("abcdef", "ghij")
    prompt = prompt_of("abcdefghij", tmp_path, forced=False)
    assert (text_of(prompt.ids), prompt.continuation_ids) == ("abcdefghij", ())


def test_a_continuation_of_its_own(tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("WXYZ!")
    prompt = prompt_of("abcdef", tmp_path, continuation=other)
    assert (text_of(prompt.ids), text_of(prompt.continuation_ids)) == ("abcdef", "WXYZ")
    other.write_text("W")
    with pytest.raises(ModelError, match="1 tokens, but 4 are to be decoded"):
        prompt_of("abcdef", tmp_path, continuation=other)


def test_fill_in_the_middle_decodes_what_was_taken_out(tmp_path):
    prompt = prompt_of("abcdWXYZefgh", tmp_path, fill_in_the_middle=True)
    assert text_of(prompt.ids) == "\x01abcd\x02efgh\x03"
    assert text_of(prompt.continuation_ids) == "WXYZ"


def test_a_folder_is_its_text_files_in_order(tmp_path):
    (tmp_path / "b.py").write_text("B")
    (tmp_path / "a.py").write_text("A")
    (tmp_path / "image.png").write_bytes(b"\x89\0\0")
    (tmp_path / ".hidden").write_text("H")
    prompt = make_prompt(PromptSpec(source=tmp_path), Loaded, new_token_count=2, forced=False)
    assert text_of(prompt.ids) == "A\nB"


def test_random_tokens_follow_the_seed():
    def ids(seed):
        return make_prompt(PromptSpec(token_count=9, seed=seed), Wordless, new_token_count=4, forced=True).ids

    assert ids(1) == ids(1) != ids(2)
    assert max(ids(1)) < 128


@pytest.mark.parametrize(
    ("text", "spec", "message"),
    [
        ("", {}, "no text"),
        ("abc", {}, "3 tokens are no more than the 4"),
        ("abc", {"fill_in_the_middle": True}, "too few"),
        ("abc", {"fill_in_the_middle": True, "name": "standard input"}, "^standard input: 3 tokens are too few"),
        ("abc", {"name": "standard input"}, "^standard input: its 3 tokens"),
    ],
)
def test_prompts_that_cannot_be(tmp_path, text, spec, message):
    with pytest.raises(ModelError, match=message):
        prompt_of(text, tmp_path, **spec)


@pytest.mark.parametrize(
    ("length", "new", "spec", "ways"),
    [
        (200, 4, {}, ["--prompt-tokens 96 or fewer"]),
        (9, 500, {"token_count": 30}, ["--new-tokens 70 or fewer"]),
        (530, 500, {}, ["--prompt-tokens 30", "--new-tokens 70 or fewer"]),  # alone, fewer would make the prompt longer
        (9, 500, {"token_count": 300}, ["--prompt-tokens and --new-tokens that are 100 or fewer together"]),
        (200, 4, {"fill_in_the_middle": True}, ["--prompt-tokens 88 or fewer"]),
    ],
)
def test_what_exceeds_the_context_is_told_the_options_that_fit(tmp_path, length, new, spec, ways):
    with pytest.raises(ModelError) as caught:
        prompt_of("a" * length, tmp_path, new=new, **spec)
    way = " and ".join(ways)
    assert str(caught.value).endswith(f"exceed the context of model, 100; pass {way}")
    options = {"--prompt-tokens": "token_count", "--new-tokens": "new"}
    given = {options[option]: int(value) for option, value in re.findall(r"(--\S+) (\d+)", way)}
    if given:
        assert prompt_of("a" * length, tmp_path, **{"new": new} | spec | given).ids  # they do


def test_a_prompt_is_text(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"ab\xff")
    with pytest.raises(ModelError, match=r"not UTF-8 text \(byte 2\)"):
        make_prompt(PromptSpec(source=tmp_path / "x.bin"), Loaded, new_token_count=1, forced=True)
    piped = PromptSpec(source=tmp_path / "x.bin", name="standard input")
    with pytest.raises(ModelError, match=r"^standard input: not UTF-8 text"):
        make_prompt(piped, Loaded, new_token_count=1, forced=True)
    with pytest.raises(ModelError, match="No such file"):
        make_prompt(PromptSpec(source=tmp_path / "missing"), Loaded, new_token_count=1, forced=True)
    with pytest.raises(ModelError, match="has no tokenizer here"):
        prompt_of("abcdefgh", tmp_path, loaded=Wordless)
