"""The zoo's shapes against published figures, and against models built by transformers itself."""

import pytest

from tokprof.models.cost import kv_bytes_per_token, parameter_count, shape_of, weight_bytes_per_token
from tokprof.models.errors import ModelError
from tokprof.models.zoo import ZOO, entry, find, near_names

# name, parameters, GB read per token and bytes of cache per token in bfloat16
PUBLISHED = [
    ("Codestral-22B-v0.1", 22_247_282_688, 44.09, 229_376),
    ("StarCoder", 15_517_456_384, 30.93, 20_480),
    ("StarCoderBase", 15_517_456_384, 30.93, 20_480),
    ("StarCoderBase-7B", 7_327_263_232, 14.59, 21_504),
    ("StarCoderBase-3B", 3_043_311_104, 6.04, 18_432),
    ("StarCoderBase-1B", 1_137_207_296, 2.24, 12_288),
    ("SantaCoder", 1_124_886_528, 2.24, 12_288),
    ("StarCoder2-3B", 3_030_371_328, 6.06, 30_720),
    ("StarCoder2-7B", 7_173_923_840, 14.35, 65_536),
    ("StarCoder2-15B", 15_957_889_024, 31.31, 81_920),
    ("Qwen2.5-Coder-0.5B", 494_032_768, 0.99, 12_288),
    ("Qwen2.5-Coder-1.5B", 1_543_714_304, 3.09, 28_672),
    ("Qwen2.5-Coder-7B", 7_615_616_512, 14.14, 57_344),
    ("DeepSeek-Coder-1.3B", 1_346_471_936, 2.56, 196_608),
    ("DeepSeek-Coder-6.7B", 6_740_512_768, 13.22, 524_288),
    ("Mamba-Codestral-7B-v0.1", 7_285_403_648, 14.30, 0),
    ("SmolLM2-135M-Instruct", 134_515_008, 0.27, 23_040),
]


@pytest.mark.parametrize(("name", "parameters", "gigabytes", "cache"), PUBLISHED)
def test_published_figures_follow_from_the_configuration(name, parameters, gigabytes, cache):
    shape = shape_of(entry(name).config)
    assert parameter_count(shape) == parameters
    assert round(weight_bytes_per_token(shape, "bfloat16") / 1e9, 2) == gigabytes
    assert kv_bytes_per_token(shape, "bfloat16") == cache


@pytest.mark.parametrize("name", list(ZOO))
def test_counts_are_those_of_the_model_that_transformers_builds(name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    values = dict(entry(name).config)
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    built = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    assert parameter_count(shape_of(entry(name).config)) == built


def test_names_are_found_in_any_case_and_offered_when_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("starcoder2-3b").name == "StarCoder2-3B"
    assert find("StarCoder").name == "StarCoder"
    assert find("nothing") is None
    with pytest.raises(ModelError, match=r"did you mean Codestral-22B-v0\.1"):
        entry("codestral-22")
    with pytest.raises(ModelError, match=r"did you mean DeepSeek-Coder-1\.3B or DeepSeek-Coder-6\.7B\?"):
        entry("deepseek-coder")  # both begin so
    assert find("codestral").name == find("Codestral-22B").name == "Codestral-22B-v0.1"
    (tmp_path / "codestral").mkdir()
    assert find("codestral") is None  # the user's own
    assert "tokprof models" in near_names("zzz")


def test_an_unknown_family_is_refused_with_those_known():
    with pytest.raises(ModelError, match="known are llama, mistral"):
        shape_of({"model_type": "rwkv"})
    with pytest.raises(ModelError, match="'n_embd'"):
        shape_of({"model_type": "gpt_bigcode", "n_head": 4})
