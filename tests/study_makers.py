"""What studies that nobody measured are made of: a model, a machine, and the rest of a plan."""

from tokprof.profiler.record import Device, Environment, ModelFacts
from tokprof.profiler.studies import Plan

MODEL = ModelFacts(
    name="m",
    architecture="llama",
    source="zoo",
    weights="real",
    weights_digest="w",
    config_digest="c",
    tokenizer_digest="t",
    parameter_count=10,
    vocabulary_count=128,
    context_token_count=4096,
    dtype="float32",
    attention="sdpa",
    weight_bytes_per_token=40,
    kv_bytes_per_token=8,
)
MACHINE = Environment(
    device=Device(kind="cpu", name="cpu"),
    system="Linux",
    cpu="cpu",
    cpu_count=2,
    memory_bytes=None,
    python="3.11.2",
    libraries=(("torch", "2.13.0"),),
)


def made_up(**facts) -> Plan:
    """Return a plan of these arms, languages and items, one block per language and process."""
    common = {
        "corpus": "test",
        "corpus_digest": "d",
        "lexer": "universal 1",
        "block_count": 1,
        "margin": 0.01,
        "seed": 3,
    }
    return Plan(**{**common, **facts})
