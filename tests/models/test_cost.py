"""Operations and bytes of a step against what torch counts, what a cache holds, and what must hold by definition."""

import pytest

from tokprof.models.cost import kv_bytes_per_token, shape_of, step_cost, weight_bytes_per_token
from tokprof.models.devices import device, devices
from tokprof.models.errors import ModelError
from tokprof.models.zoo import ZOO, entry

BATCH, PROMPT = 3, 50
ATTENDING = [
    ("tiny-llama", {}),
    ("tiny-mistral", {}),
    ("tiny-mistral", {"sliding_window": 16}),
    ("tiny-gpt-bigcode", {}),
    ("tiny-gpt-bigcode", {"multi_query": False}),
    ("tiny-starcoder2", {}),
    ("tiny-starcoder2", {"sliding_window": 16}),
    ("tiny-qwen2", {}),
    ("SmolLM2-135M-Instruct", {}),
    ("Codestral-22B-v0.1", {}),
    ("StarCoder", {}),
    ("StarCoder2-15B", {}),
    ("Qwen2.5-Coder-7B", {}),
    ("DeepSeek-Coder-1.3B", {}),
]


def counted(name, changes, *, device="meta"):
    """What FlopCounterMode counts of a prefill and of the decode step after it, by ATen operator; nothing is computed.

    Eager attention, because of the fused one torch counts nothing on a CPU.
    """
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from torch.utils.flop_counter import FlopCounterMode

    from tokprof.models.engine import cache_parameter

    values = dict(entry(name).config) | changes
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        ids = torch.zeros((BATCH, PROMPT), dtype=torch.long)
    key, counts, cache = cache_parameter(model), [], None
    for step in (ids, ids[:, :1]):
        state = {} if cache is None else {key: cache}
        with torch.inference_mode(), torch.device(device), FlopCounterMode(display=False) as counter:
            output = model(input_ids=step, use_cache=True, logits_to_keep=1, **state)
        cache = output[key]
        counts.append({str(operator): n for operator, n in counter.get_flop_counts()["Global"].items()})
    return counts


def costs(name, changes=None, *, context=PROMPT, dtype="float32", batch=BATCH):
    shape = shape_of(dict(entry(name).config) | (changes or {}))
    steps = ((PROMPT, 0), (1, context))
    return [
        step_cost(shape, batch_size=batch, token_count=new, context_token_count=old, dtype=dtype) for new, old in steps
    ]


def total(operators, field="flop_count"):
    return sum(getattr(one, field) for one in operators)


@pytest.mark.parametrize(("name", "changes"), ATTENDING, ids=lambda v: v if isinstance(v, str) else str(v or ""))
def test_products_are_those_that_torch_counts(name, changes):
    for cost, count in zip(costs(name, changes), counted(name, changes), strict=True):
        assert total(cost) + total(cost, "redundant_flop_count") == pytest.approx(sum(count.values()), rel=0.01)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("tiny-mamba2", {}), ("tiny-mamba2", {"chunk_size": 16}), ("Mamba-Codestral-7B-v0.1", {})],
    ids=["one chunk", "four chunks", "Codestral"],
)
def test_a_state_space_model_s_products_are_to_the_last_those_that_torch_counts(name, changes):
    steps = zip(costs(name, changes), counted(name, changes, device="cpu" if "tiny" in name else "meta"), strict=True)
    for cost, count in steps:
        assert total(cost) + total(cost, "redundant_flop_count") == sum(count.values())
        convolution = next(one for one in cost if one.name == "convolution")
        assert convolution.flop_count + convolution.redundant_flop_count == count["aten.convolution"]
    state = next(one for one in cost if one.name == "state")  # of the decode step, which is the recurrence as written
    assert (state.flop_count, state.redundant_flop_count) == (count["aten.bmm"], 0)


@pytest.mark.parametrize("name", list(ZOO))
def test_the_bytes_of_a_step_are_all_weights_and_the_cache_up_to_it(name):
    shape = shape_of(entry(name).config)
    _, decode = costs(name, dtype="bfloat16")
    assert total(decode, "weight_bytes") == weight_bytes_per_token(shape, "bfloat16")
    if shape.is_state_space:
        assert total(decode, "cache_bytes") == total(
            costs(name, context=9 * PROMPT, dtype="bfloat16")[1], "cache_bytes"
        )
    else:
        assert total(decode, "cache_bytes") == BATCH * (PROMPT + 1) * kv_bytes_per_token(shape, "bfloat16")


def test_a_window_bounds_what_decoding_reads():
    narrow, wide = ({"sliding_window": n} for n in (16, 10**6))
    _, decode = costs("tiny-mistral", narrow, context=400)
    rows = total(decode, "cache_bytes") / kv_bytes_per_token(shape_of(entry("tiny-mistral").config), "float32") / BATCH
    assert rows == 15 + 1  # read, and written
    assert costs("tiny-mistral", wide) == costs("tiny-mistral", {"sliding_window": None})


def test_steps_of_one_token_multiply_what_one_prefill_multiplies():
    shape = shape_of(dict(entry("tiny-mistral").config) | {"sliding_window": 16})
    steps = [step_cost(shape, batch_size=2, token_count=1, context_token_count=n, dtype="float32") for n in range(40)]
    (whole,) = [step_cost(shape, batch_size=2, token_count=40, context_token_count=0, dtype="float32")]
    attention = [one.flop_count for step in steps for one in step if one.name == "attention"]
    assert sum(attention) == next(one.flop_count for one in whole if one.name == "attention")


def test_data_sheets_are_whole_and_near_names_are_offered():
    for key, ceiling in devices().items():
        assert not ceiling.measured
        assert ceiling.source
        assert 1e11 < ceiling.bandwidth_bytes_per_s < 1e13, key
        assert {"bfloat16", "float16"} <= set(ceiling.flops_per_s)
        assert all(1e13 < flops < 1e16 for flops in ceiling.flops_per_s.values())
    assert device("H100").name.startswith("NVIDIA H100 SXM")
    with pytest.raises(ModelError, match="did you mean a100"):
        device("a100")
