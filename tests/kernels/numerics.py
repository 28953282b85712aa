"""Every kernel against its float64 reference: on a GPU, or with TRITON_INTERPRET=1 in Triton's interpreter.

Run by ``test_numerics.py``, in a process of its own, because Triton decides at its import how kernels run.
"""

import os

import pytest
import torch

from tokprof.kernels import catalogue
from tokprof.kernels.activations import gelu, gelu_reference, swiglu, swiglu_reference
from tokprof.kernels.attention import attention_reference, decode_attention
from tokprof.kernels.benchmark import DIFFERENCES
from tokprof.kernels.catalogue import relative_difference
from tokprof.kernels.launch import INTERPRETED
from tokprof.kernels.lm_head import greedy
from tokprof.kernels.lora import lora, lora_reference
from tokprof.kernels.matvec import (
    MAX_ROWS,
    _launch_in_parts,
    launch_for_some,
    matvec,
    matvec_reference,
    quantize_rows,
)
from tokprof.kernels.norms import layer_norm, layer_norm_reference, rms_norm, rms_norm_reference
from tokprof.kernels.rotary import rotary, rotary_reference

DEVICE = "cpu" if INTERPRETED else "cuda"
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# float16 takes bfloat16's way through the longer kernels, and the interpreter is slow.
LONG_DTYPES = DTYPES[:2] if INTERPRETED else DTYPES


@pytest.fixture(autouse=True)
def _fresh_inputs_and_poisoned_outputs():
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)  # with it, torch.empty() gives NaN
    assert torch.empty(3, device=DEVICE).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def random(*sizes, dtype=torch.float32):
    return torch.randn(*sizes, dtype=torch.float64, device=DEVICE).to(dtype)


def scattered(x, *, last=True):
    """Return the same numbers with other strides, between NaNs: the last dimension's too, if ``last``."""
    sizes = [*(2 * n + 1 for n in x.shape[:-1]), x.shape[-1] * (3 if last else 1) + 5]
    holder = torch.full(sizes, float("nan") if x.dtype.is_floating_point else 99, dtype=x.dtype, device=x.device)
    view = holder[tuple(slice(1, 2 * n + 1, 2) for n in x.shape[:-1])]
    view = view[..., 2 : 2 + 3 * x.shape[-1] : 3] if last else view[..., 2 : 2 + x.shape[-1]]
    return view.copy_(x)


def check(got, wanted, dtype):
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    assert got.is_contiguous()
    assert relative_difference(got, wanted) <= DIFFERENCES[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 70, 1025])
def test_norms(dtype, width):
    # The mean is far from 0, so that the mean square less the squared mean would show.
    x, weight, bias = random(2, 3, width, dtype=dtype) + 30, random(width, dtype=dtype), random(width, dtype=dtype)
    for given in (x, scattered(x)):
        check(rms_norm(given, weight, 1e-5), rms_norm_reference(x.double(), weight.double(), 1e-5), dtype)
        if width > 1:
            full = layer_norm_reference(x.double(), weight.double(), bias.double(), 1e-5)
            check(layer_norm(given, weight, bias, 1e-5), full, dtype)
            plain = layer_norm_reference(x.double(), weight.double(), None, 1e-5)
            check(layer_norm(given, weight, None, 1e-5), plain, dtype)
    assert rms_norm(x[:0], weight, 1e-5).shape == (0, 3, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 1030])
def test_activations(dtype, width):
    both = 4 * random(3, 2 * width, dtype=dtype)
    gate, up = both.chunk(2, -1)  # halves of one tensor, as a fused projection leaves them
    check(swiglu(gate, up), swiglu_reference(gate.double(), up.double()), dtype)
    x = scattered(gate)
    check(swiglu(x, up), swiglu_reference(gate.double(), up.double()), dtype)
    for tanh in (False, True):
        check(gelu(x, tanh=tanh), gelu_reference(gate.double(), tanh=tanh), dtype)
    huge = torch.tensor([[-1e4, 1e4]], dtype=dtype, device=DEVICE)
    assert gelu(huge, tanh=True).tolist() == gelu(huge, tanh=False).tolist() == [[0, huge[0, 1].item()]]
    with pytest.raises(ValueError, match="must agree"):
        swiglu(gate, up[:2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "size", "tokens"), [(5, 1, 12, 3), (17, 2, 6, 1)])
def test_rotary(dtype, heads, kv_heads, size, tokens):
    q, k = random(2, heads, tokens, size, dtype=dtype), random(2, kv_heads, tokens, size, dtype=dtype)
    for tables in (1, 2):
        angle = random(tables, tokens, size // 2).repeat(1, 1, 2)
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        wanted = [rotary_reference(x.double(), cos.double(), sin.double()) for x in (q, k)]
        # transformers hands over transposed views.
        across = q.transpose(1, 2).contiguous().transpose(1, 2)
        for given in ((across, k), (scattered(q), scattered(k))):
            for got, right in zip(rotary(*given, cos, sin), wanted, strict=True):
                check(got, right, dtype)
    with pytest.raises(ValueError, match="even"):
        rotary(q[..., 1:], k[..., 1:], cos[..., 1:], sin[..., 1:])


@pytest.mark.parametrize("dtype", LONG_DTYPES)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "tokens", "splits"),
    [
        (17, 1, 24, 300, 5),
        (6, 2, 16, 150, 2),
        (3, 3, 20, 300, 1),
        (6, 2, 16, 64, 4),
        (17, 1, 24, 1, None),
        (2, 1, 200, 2200, 100),  # more parts than the second kernel takes at a time
    ],
)
def test_decode_attention(dtype, heads, kv_heads, size, tokens, splits):
    q = random(2, heads, 1, size, dtype=dtype)
    k, v = random(2, kv_heads, tokens, size, dtype=dtype), random(2, kv_heads, tokens, size, dtype=dtype)
    got = decode_attention(*(scattered(x, last=False) for x in (q, k, v)), splits=splits)
    check(got, attention_reference(q.double(), k.double(), v.double()), dtype)


def test_decode_attention_survives_scores_that_overflow_an_exponential():
    q, k, v = random(1, 4, 1, 16), random(1, 2, 130, 16), random(1, 2, 130, 16)
    got = decode_attention(q, k, v, scale=40.0, splits=3)
    assert relative_difference(got, attention_reference(q.double(), k.double(), v.double(), 40.0)) < 1e-4
    assert torch.equal(decode_attention(q, k, torch.ones_like(v), scale=0.0), torch.ones_like(q))


def test_decode_attention_refuses_what_it_is_not_made_for():
    q, k = random(1, 4, 1, 16), random(1, 2, 10, 16)
    for bad in ((q.expand(1, 4, 2, 16), k, k), (q, k[:, :, :0], k[:, :, :0]), (q[:, :3], k, k), (q, k, k[:, :, 1:])):
        with pytest.raises(ValueError, match="do not go together"):
            decode_attention(*bad)
    with pytest.raises(ValueError, match="contiguous"):
        decode_attention(q, k, scattered(k))


@pytest.mark.parametrize("dtype", LONG_DTYPES)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 1, 5), (1, 300, 259), (3, 70, 37), (3, 300, 259), (33, 20, 257)]
)
def test_skinny_products(dtype, rows, inputs, outputs):
    x, weight = random(rows, inputs, dtype=dtype), random(outputs, inputs, dtype=dtype)
    bias = random(outputs, dtype=dtype)
    given, rows_apart = scattered(x), scattered(weight, last=False)
    check(matvec(given, rows_apart), matvec_reference(x.double(), weight.double()), dtype)
    check(matvec(x, weight, bias=bias), matvec_reference(x.double(), weight.double(), bias=bias.double()), dtype)
    packed, scale = quantize_rows(weight)
    wanted = matvec_reference(x.double(), packed, scale.double(), bias.double())
    check(matvec(given, scattered(packed, last=False), scale, bias), wanted, dtype)


@pytest.mark.parametrize("dtype", LONG_DTYPES)
def test_products_whose_programs_take_fewer_rows_than_a_tile(dtype, monkeypatch):
    monkeypatch.setattr("tokprof.kernels.matvec.sm_count", lambda _: 3)
    x, weight = random(3, 70, dtype=dtype), random(120, 70, dtype=dtype)
    assert {name: launch_for_some(x, weight)[1][name] for name in ("HEIGHT", "ROWS")} == {"HEIGHT": 48, "ROWS": 64}
    a, b = random(5, 70, dtype=dtype), random(120, 5, dtype=dtype)
    full = x.double() @ weight.double().T
    check(matvec(x, weight), full, dtype)
    check(lora(x, weight, a, b, 0.7), lora_reference(*(t.double() for t in (x, weight, a, b)), 0.7), dtype)
    weight[60], weight[119] = x[0], x[1]  # in the second program, and the last row of the last
    assert greedy(x, weight)[:2].tolist() == [60, 119]


@pytest.mark.parametrize("dtype", LONG_DTYPES)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "grid"), [(3, 300, 259, (3, 3)), (33, 257, 300, (3, 3)), (2, 17, 257, (3, 1))]
)
def test_int8_products_whose_inputs_are_cut_into_parts(dtype, rows, inputs, outputs, grid, monkeypatch):
    monkeypatch.setattr("tokprof.kernels.matvec.sm_count", lambda _: 5)
    monkeypatch.setattr("tokprof.kernels.matvec._LEAST_CUT", 0)
    x, bias = random(rows, inputs, dtype=dtype), random(outputs, dtype=dtype)
    packed, scale = quantize_rows(random(outputs, inputs, dtype=dtype))
    given, rows_apart = scattered(x), scattered(packed, last=False)
    assert _launch_in_parts(given, rows_apart)[0] == grid
    full = matvec_reference(x.double(), packed, scale.double())
    got = matvec(given, rows_apart, scale, bias)
    check(got, full + bias.double(), dtype)
    assert torch.equal(got, matvec(given, rows_apart, scale, bias))
    check(matvec(x, packed, scale, dtype=torch.float32), full, torch.float32)


def test_quantized_rows_are_within_half_a_step():
    weight = random(20, 33)
    weight[3] = 0
    packed, scale = quantize_rows(weight)
    assert (packed.abs().amax(1) == 127).sum() == 19
    assert not packed[3].any()
    assert ((packed * scale[:, None] - weight).abs() <= 0.5001 * scale[:, None]).all()


def test_skinny_products_refuse_many_rows_and_transposed_weights():
    with pytest.raises(ValueError, match=f"1 to {MAX_ROWS}"):
        matvec(random(MAX_ROWS + 1, 8), random(4, 8))
    with pytest.raises(ValueError, match="contiguous"):
        matvec(random(1, 8), random(8, 4).T)
    with pytest.raises(ValueError, match="inputs"):
        matvec(random(1, 8), random(4, 9))
    with pytest.raises(ValueError, match="no inputs"):
        matvec(random(1, 0), random(4, 0))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_greedy_choice(dtype, rows):
    x, weight = random(rows, 40, dtype=dtype), random(101, 40, dtype=dtype)
    logits = x.double() @ weight.double().T
    chosen = logits.gather(1, greedy(scattered(x), scattered(weight, last=False))[:, None])[:, 0]
    assert (logits.amax(1) - chosen <= 1e-5 * logits.abs().amax()).all()


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("winner", [0, 15, 16, 100])
def test_greedy_choice_wherever_the_largest_stands(rows, winner):
    x, weight = torch.ones(rows, 20, device=DEVICE), -torch.rand(101, 20, device=DEVICE)
    weight[winner] = 1
    assert greedy(x, weight).tolist() == [winner] * rows
    weight[min(winner + 37, 100)] = 1  # a tie goes to the lower token
    assert greedy(x, weight).tolist() == [winner] * rows
    weight[winner // 2, 3] = float("nan")
    assert greedy(x, weight).tolist() == (x @ weight.T).argmax(-1).tolist() == [winner // 2] * rows
    weight[:] = float("-inf")
    assert greedy(x, weight).tolist() == [0] * rows  # none is larger than another


@pytest.mark.parametrize("dtype", LONG_DTYPES)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("rank", "adapter"), [(1, torch.float32), (5, None), (20, torch.float32)])
def test_lora(dtype, rows, rank, adapter):
    x, weight = random(rows, 70, dtype=dtype), random(37, 70, dtype=dtype)
    a, b, bias = (
        random(rank, 70, dtype=adapter or dtype),
        random(37, rank, dtype=adapter or dtype),
        random(37, dtype=dtype),
    )
    wanted = lora_reference(*(t.double() for t in (x, weight, a, b)), 0.7, bias.double())
    given = [scattered(x), *(scattered(t, last=False) for t in (weight, a, b))]
    check(lora(*given, 0.7, bias), wanted, dtype)
    check(lora(x, weight, a, b, 0.7), wanted - bias.double(), dtype)
    with pytest.raises(ValueError, match="no adapter"):
        lora(x, weight, a, b[:-1], 0.7)


class Tiny:
    """A model's sizes, of every kind in turn."""

    family, hidden, ffn, head_count, kv_head_count, head_dim, vocabulary_count = "llama", 32, 40, 4, 2, 8, 50
    gated, norm_bias, position_rows, is_state_space = True, False, 0, False
    context_token_count, window_token_count = 128, None


class TinyMultiQuery(Tiny):
    family, kv_head_count, gated, norm_bias, position_rows = "gpt_bigcode", 1, False, True, 64


@pytest.mark.parametrize("shape", [Tiny, TinyMultiQuery])
def test_every_case_of_the_catalogue_is_right_and_does_what_the_library_does(shape, monkeypatch):
    monkeypatch.setattr(catalogue, "PREFILL_TOKENS", 5)
    monkeypatch.setattr(catalogue, "LORA_RANK", 2)
    seen = set()
    for case in catalogue.cases(shape, "tiny", batches=(1, 3), contexts=(70,)):
        trial = case.make(DEVICE, torch.float32)
        assert trial.difference() <= DIFFERENCES[torch.float32], case
        if case.kernel not in seen:
            ours, theirs = trial.run(), trial.library()
            for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (ours, theirs)), strict=True):
                assert relative_difference(a, b.double()) <= (0.02 if "int8" in case.kernel else 1e-5), case
        seen.add(case.kernel)
    assert len(seen) == (7 if shape is TinyMultiQuery else 8)
