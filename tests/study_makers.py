"""Studies that nobody measured: a model, a machine, a plan of 12 languages, and samples with planted differences."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tokprof.profiler.measure.schedule import units
from tokprof.profiler.record import DecodeMode, Device, Environment, ModelFacts
from tokprof.profiler.studies import (
    Arm,
    ArmRole,
    Exposure,
    Header,
    Plan,
    StudyItem,
    StudyLanguage,
)
from tokprof.profiler.study_samples import Study, StudySamples

SEEN = ("python", "go", "java", "rust", "c", "lua")
UNSEEN = ("odin", "gleam", "hare", "roc", "koka", "janet")

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


def plan_of(*arms: ArmRole, process_count: int = 6, **more) -> Plan:
    facts = {
        "arms": tuple(Arm(name=str(role), role=role, model="m") for role in (ArmRole.BASE, *arms)),
        "languages": tuple(
            StudyLanguage(
                key=key,
                name=key.title(),
                exposure=Exposure.SEEN if key in SEEN else Exposure.UNSEEN,
                evidence="documented",
            )
            for key in (*SEEN, *UNSEEN)
        ),
        "items": tuple(
            StudyItem(
                language=key,
                task=f"task {number}",
                prompt="x" * (200 + 30 * number + 10 * place),
                content="y" * (90 + 5 * place),
                share=0.1,
                prompt_lexeme_count=50 + place,
                content_lexeme_count=20 + place,
            )
            for place, key in enumerate((*SEEN, *UNSEEN))
            for number in range(3)
        ),
        "process_count": process_count,
    }
    return made_up(**{**facts, **more})


def study_of(plan, effect=lambda _arm, _language: 0.0, *, noise=0.004, tokens_per_byte=None, seed=0):
    """Make a study whose arms take exp(effect) of the base's time, with noise of processes and of blocks."""
    draw = np.random.default_rng(seed)
    tokens_per_byte = tokens_per_byte or [0.35] * len(plan.arms)
    counts = {
        arm: (
            tuple(max(1, round(len(item.prompt) * rate)) for item in plan.items),
            tuple(max(2, round(len(item.content) * rate)) for item in plan.items),
        )
        for arm, rate in enumerate(tokens_per_byte)
    }
    rows, steps, at = [], [], 0
    schedule = units(plan)
    for unit in schedule:
        shift = draw.normal(0, noise, len(plan.arms))
        clock = 1_000_000
        for block in unit.blocks:
            if block.mode is not DecodeMode.TEACHER_FORCED:
                continue
            for position, arm in enumerate(block.order):
                n_in, n_out = counts[arm][0][block.item], counts[arm][1][block.item]
                factor = np.exp(effect(plan.arms[arm].name, plan.items[block.item].language) + shift[arm])
                factor *= np.exp(draw.normal(0, noise))
                context = n_in + np.arange(n_out - 1)
                own = np.round((30e6 + 5e3 * context) * factor).astype(np.int64)
                prefill = round((20e6 + 4e6 * n_in) * factor)
                rows.append(
                    {
                        "process": unit.process,
                        "session": 0,
                        "block": block.index,
                        "position": position,
                        "mode": list(DecodeMode).index(block.mode),
                        "item": block.item,
                        "arm": arm,
                        "prompt_token_count": n_in,
                        "token_count": n_out,
                        "start_ns": clock,
                        "prefill_ns": prefill,
                        "decode_ns": int(own.sum()),
                        "issue_ns": int(own.sum()),
                        "step_start": at,
                        "step_count": len(own),
                        "ended": 0,
                        "mark": 0,
                    }
                )
                steps.append(own)
                at += len(own)
                clock += prefill + int(own.sum())
    block_count = len({(row["process"], row["block"]) for row in rows})
    arms = tuple(range(len(plan.arms)))
    models = tuple(replace(MODEL, tokenizer_digest=f"t{rate}") for rate in tokens_per_byte)
    header = Header(
        process=0,
        session=0,
        arms=arms,
        environment=MACHINE,
        models=models,
        prompt_token_counts=tuple(counts[arm][0] for arm in arms),
        content_token_counts=tuple(counts[arm][1] for arm in arms),
    )
    return Study(
        folder=Path("study"),
        plan=plan,
        headers=(header,),
        samples=StudySamples(**{name: np.array([row[name] for row in rows]) for name in rows[0]}),
        step_ns=np.concatenate(steps),
        finished_block_count=block_count,
        planned_block_count=block_count,
    )
