"""Operations and bytes of a step against what torch counts, what a cache holds, and what must hold by definition."""

from pathlib import Path

import pytest

from tokprof.models.cost import call_cost, kv_bytes_per_token, shape_of, step_cost, weight_bytes_per_token
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
    mamba2 = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    if "einsum" not in Path(mamba2.__file__).read_text(encoding="utf-8"):
        pytest.skip("this transformers writes the scan as elementwise products, which torch does not count")
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


@pytest.mark.parametrize("size", [0, -1, "wide"])
def test_a_configuration_with_a_size_that_is_none_is_told(size):
    with pytest.raises(ModelError, match="a mistral configuration has a size that is none"):
        shape_of(dict(entry("tiny-mistral").config) | {"sliding_window": size})


# ------------------------------------------------------------------------------------------------- calls of operators


def dense(*sizes):
    """The strides of a tensor without holes."""
    strides, step = [], 1
    for size in reversed(sizes):
        strides.insert(0, step)
        step *= size
    return strides


def call(name, *tensors, kind="float", strides=None, types=None):
    """The cost of a call with operands of these sizes, without holes if nothing else is said."""
    return call_cost(
        name if "::" in name else f"aten::{name}",
        [list(sizes) for sizes in tensors],
        strides or [dense(*sizes) for sizes in tensors],
        types or [kind] * len(tensors),
    )


@pytest.mark.parametrize(
    ("name", "tensors", "flops", "numbers"),
    [
        ("mm", [(4, 8), (8, 2)], 128, 32 + 16 + 8),
        ("mv", [(4, 8), (8,)], 64, 32 + 8 + 4),
        ("bmm", [(3, 4, 8), (3, 8, 2)], 384, 96 + 48 + 24),
        ("addmm", [(2,), (4, 8), (8, 2)], 128, 32 + 16 + 8),
        ("addmm_", [(2,), (4, 8), (8, 2)], 128, 32 + 16 + 8),
        ("baddbmm", [(3, 4, 2), (3, 4, 8), (3, 8, 2)], 384, 96 + 48 + 24),
        ("linear", [(5, 4, 8), (2, 8), (2,)], 640, 160 + 16 + 2 + 40),
        ("matmul", [(5, 1, 4, 8), (3, 8, 2)], 1920, 160 + 48 + 120),
        ("scaled_dot_product_attention", [(2, 4, 1, 8), (2, 4, 9, 8), (2, 4, 9, 8)], 4 * 64 * 9, 2 * 64 + 2 * 576),
        ("_flash_attention_forward", [(2, 1, 4, 8), (2, 9, 4, 8), (2, 9, 4, 8)], 4 * 64 * 9, 2 * 64 + 2 * 576),
        ("embedding", [(100, 8), (6,)], 0, None),
        ("mul", [(4, 1), (3,)], 0, 4 + 3 + 12),
        ("add_", [(4, 3), (3,)], 0, 12 + 3 + 12),
        ("silu", [(4, 3)], 0, 24),
        ("native_layer_norm", [(4, 3), (3,), (3,)], 0, 12 + 3 + 3 + 12),
        ("_softmax", [(4, 3)], 0, 24),
        ("mean", [(4, 3)], 0, 12),
        ("copy_", [(4, 3), (4, 3)], 0, 24),
        ("fill_", [(4, 3)], 0, 12),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_call_multiplies_and_moves_what_its_operands_say(name, tensors, flops, numbers):
    for kind, size in (("float", 4), ("c10::BFloat16", 2)):
        found = call(name, *tensors, kind=kind)
        assert found.flop_count == flops
        assert found.redundant_flop_count == 0
        assert numbers is None or found.byte_count == numbers * size
        assert found.dtype == {"float": "float32", "c10::BFloat16": "bfloat16"}[kind]


def test_a_prefill_s_attention_may_be_causal_or_not():
    found = call("_scaled_dot_product_flash_attention", *[(2, 4, 6, 8)] * 3)
    assert found.flop_count == 4 * 64 * (6 * 7 // 2)
    assert found.flop_count + found.redundant_flop_count == 4 * 64 * 36


def test_what_is_not_stored_is_not_moved():
    assert call("add", (64, 9), (64, 9), strides=[[9, 1], [0, 1]]).byte_count == 4 * (576 + 9 + 576)
    windows = call("neg", (7, 3), strides=[[1, 1]])  # overlapping windows over nine numbers
    assert windows.byte_count == 4 * (9 + 21)


def test_results_have_the_type_that_torch_gives_them():
    half, single, long = "c10::Half", "float", "long int"
    assert call("mul", (8,), (8,), types=[half, single]).byte_count == 16 + 32 + 32
    assert call("mul", (8,), (), types=[half, "double"]).byte_count == 16 + 8 + 16  # a scalar does not widen it
    assert call("mul_", (8,), (8,), types=[half, single]).byte_count == 16 + 32 + 16
    assert call("lt", (8,), (8,), types=[long, long]).byte_count == 64 + 64 + 8
    assert call("div", (8,), (8,), types=[long, long]).byte_count == 64 + 64 + 32


def test_a_look_up_reads_no_more_than_one_row_for_sure():
    types = ["c10::BFloat16", "long int", "Scalar"]
    found = call_cost("aten::embedding", [[100, 8], [6], []], [[8, 1], [1], []], types)
    assert found.byte_count == 6 * 8 + 6 * 16 + 16


@pytest.mark.parametrize(
    ("name", "sizes", "strides", "types"),
    [
        ("mm", [[4, 8], [9, 2]], [[8, 1], [2, 1]], ["float", "float"]),
        ("mm", [[4, 8]], [[8, 1]], ["float"]),
        ("mm", [[], []], [[], []], ["float", "float"]),
        ("mm", [[4, 8], [8, 2]], [[8, 1]], ["float", "float"]),
        ("mm", [[4, 8], [8, 2]], [[8, 1], [2]], ["float", "float"]),
        ("mm", [[4, 8], [8, 2]], [[8, 1], [2, 1]], ["float", "c10::Float9"]),
        ("mm", [[2**61, 2**61], [2**61, 2]], [[1, 1], [1, 1]], ["float", "float"]),
        ("bmm", [[3, 4, 8], [5, 8, 2]], [[32, 8, 1], [16, 2, 1]], ["float", "float"]),
        ("mul", [[4], [3]], [[1], [1]], ["float", "float"]),
        ("cat", [[[4, 3], [4, 3]], []], [[[3, 1], [3, 1]], []], ["TensorList", "Scalar"]),
        ("scaled_dot_product_attention", [[1, 2, 3, 4]] * 2, [[24, 12, 4, 1]] * 2, ["float"] * 2),
        ("scaled_dot_product_attention", [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 5]], [[1, 1, 1, 1]] * 3, ["float"] * 3),
        ("a_kernel_of_mine", [[4, 8], [8, 2]], [[8, 1], [2, 1]], ["float", "float"]),
        ("embedding", [[100, 8]], [[8, 1]], ["float"]),
        ("", [], [], []),
    ],
)  # fmt: skip
def test_what_its_operands_do_not_tell_is_not_known(name, sizes, strides, types):
    assert call_cost(f"aten::{name}", sizes, strides, types) is None
    assert call_cost(f"triton::{name}", sizes, strides, types) is None


def test_no_sizes_of_a_stranger_s_file_make_it_raise():
    for name in ("mm", "mul", "embedding", "index_select", "mean", "_softmax", "copy_", "linear", "matmul"):
        for sizes in ([], [0], [0, 8], [2**62], [1] * 30):
            for others in ([], [0], [8, 0]):
                strides = [[2**62] * len(sizes), [0] * len(others)]
                found = call_cost(f"aten::{name}", [sizes, others], strides, ["float", "long int"])
                assert found is None or (found.byte_count >= 0 and found.flop_count >= 0)
