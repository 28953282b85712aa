"""Whole models with Triton kernels beside themselves with their own; run by ``test_numerics.py``."""

import pytest
import torch
from torch import nn

from tokprof.kernels import launch
from tokprof.kernels.launch import INTERPRETED, KernelError
from tokprof.kernels.swap import swap

DEVICE = "cpu" if INTERPRETED else "cuda"
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}
BIGCODE = {"n_embd": 32, "n_inner": 40, "n_layer": 1, "n_head": 4, "vocab_size": 50, "n_positions": 128}


def made(family, **sizes):
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device(DEVICE):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()


@torch.no_grad()
def logits(model, prompt, count=2):
    """Return the logits of a prompt and of some decoded tokens."""
    cache, tokens, found = None, prompt, []
    for _ in range(count):
        out = model(tokens, past_key_values=cache, use_cache=True)
        cache, tokens = out.past_key_values, torch.ones_like(prompt[:, :1])
        found.append(out.logits)
    return torch.cat(found, 1)


def counted(monkeypatch):
    names = []
    run = launch.launch

    def note(kernel, *arguments, **options):
        names.append(kernel.__name__)
        run(kernel, *arguments, **options)

    for module in ("activations", "attention", "lora", "matvec", "norms", "rotary"):
        monkeypatch.setattr(f"tokprof.kernels.{module}.launch", note)
    return names


def test_a_gated_model_with_an_adapter_gives_the_same_logits(monkeypatch):
    from peft import LoraConfig, get_peft_model

    model = made("llama", **LLAMA)
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False)).eval()
    model = adapted.get_base_model()
    prompt = torch.randint(0, 50, (2, 33), device=DEVICE)  # 66 rows: too many for the skinny products
    before = logits(model, prompt)
    names = counted(monkeypatch)
    swapped = swap(model)
    assert dict(swapped.counts) == {
        "LoRA": 1,
        "RMSNorm": 3,
        "SwiGLU": 1,
        "decode attention": 1,
        "rotary": 1,
        "skinny product": 7,  # three more of attention, three of the feed-forward, and the head
    }
    names.clear()
    after = logits(model, prompt)
    assert 0 < swapped.largest_difference < 1e-5
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    # One decode step, and of the prompt what takes any length; LoRA's inner product is a skinny one as well.
    wanted = {"_row_norm_kernel": 6, "_swiglu_kernel": 2, "_rotary_kernel": 2, "_decode_attention": 1, "_lora_gemm": 1}
    assert {name: names.count(name) for name in wanted} == wanted
    assert names.count("_gemv") + names.count("_skinny_gemm") == 7 + 1


def test_a_multi_query_model_gives_the_same_logits():
    model = made("gpt_bigcode", **BIGCODE)
    prompt = torch.randint(0, 50, (1, 5), device=DEVICE)
    before = logits(model, prompt)
    kinds = dict(swap(model).counts)
    assert kinds == {"LayerNorm": 3, "GELU": 1, "skinny product": 5, "decode attention": 1}
    torch.testing.assert_close(logits(model, prompt), before, rtol=1e-4, atol=1e-5)


def test_attention_with_a_mask_is_left_to_the_original(monkeypatch):
    model = made("llama", **LLAMA)
    prompt = torch.randint(0, 50, (2, 4), device=DEVICE)
    mask = torch.ones(2, 5, dtype=torch.long, device=DEVICE)
    mask[0, 0] = 0  # one prompt is padded

    @torch.no_grad()
    def padded():
        out = model(prompt, attention_mask=mask[:, :4], use_cache=True)
        return model(prompt[:, :1], attention_mask=mask, past_key_values=out.past_key_values).logits

    before = padded()
    swap(model)
    names = counted(monkeypatch)
    torch.testing.assert_close(padded(), before, rtol=1e-4, atol=1e-5)
    assert "_decode_attention" not in names


def test_a_module_that_only_looks_alike_is_found_out():
    class OtherRMSNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(16, device=DEVICE))
            self.variance_epsilon = 1e-6

        def forward(self, x):
            return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.variance_epsilon) * (1 + self.weight)

    model = nn.Sequential(nn.Linear(16, 16, device=DEVICE), OtherRMSNorm())
    with pytest.raises(KernelError, match=r"^1: the Triton kernel of RMSNorm differs from the original by .* eager$"):
        swap(model)
    assert "forward" not in vars(model[0])  # nothing was put in


def test_a_model_with_nothing_to_replace_is_refused():
    with pytest.raises(KernelError, match="Embedding has no module"):
        swap(nn.Embedding(3, 4, device=DEVICE))
    with pytest.raises(KernelError, match=r"no Triton kernels for torch\.float64"):
        swap(nn.Linear(3, 4, device=DEVICE, dtype=torch.float64))
