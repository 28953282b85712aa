"""The measured process of a study: holds the arms side by side and measures block after block.

It is started by :mod:`tokprof.profiler.measure.study`, which keeps what it sends. Nothing is written to disk here while
blocks are measured.
"""

import gc
import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tokprof.models.engine import TransformersEngine
from tokprof.profiler.errors import InputError
from tokprof.profiler.measure.child import (
    Channel,
    Interrupts,
    choose_device,
    clock_probe,
    clock_unread,
    device_uuid,
    fetching,
    machine,
    model_facts,
    model_spec,
    out_of_memory_explained,
    run_child,
)
from tokprof.profiler.measure.clocks import Clock, CudaClock, HostClock
from tokprof.profiler.measure.loop import Workload, profiled, repeat
from tokprof.profiler.measure.request import Request
from tokprof.profiler.record import DecodeMode
from tokprof.profiler.studies import Block, FinishedBlock, Header, Plan, Sample, Unit

if TYPE_CHECKING:
    from tokprof.models.loading import LoadedModel
    from tokprof.models.tokenizers import Tokenizer

TRACED_REPETITIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """What one process of a study is asked to measure: the blocks of its unit that are not finished yet."""

    plan: Plan
    unit: Unit
    session: int
    blocks: tuple[Block, ...]
    traced_arms: tuple[int, ...] = ()
    traced_item: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedArm:
    """One arm's model with the tokens of every item."""

    loaded: "LoadedModel"
    request: Request
    prompts: tuple[tuple[int, ...], ...]
    contents: tuple[tuple[int, ...], ...]

    def engine(self, item: int, batch_size: int) -> TransformersEngine:
        """Return an engine that reads the item's prompt."""
        return TransformersEngine(
            self.loaded.model,
            self.prompts[item],
            self.contents[item],
            batch_size=batch_size,
            end_ids=self.loaded.end_ids,
        )


def arm_request(plan: Plan, arm: int) -> Request:
    """Return what loading an arm looks like to ``tokprof profile``."""
    asked = plan.arms[arm]
    return Request(
        model=asked.model,
        weights=asked.weights,
        adapter=asked.adapter,
        merge_adapter=asked.merge_adapter,
        seed=asked.seed,
        dtype=plan.dtype,
        attention=plan.attention,
        device=plan.device,
        trust_remote_code=plan.trust_remote_code,
        batch_size=plan.batch_size,
        thread_count=plan.thread_count,
    )


def measure(request: StudyRequest, folder: Path, channel: Channel) -> None:
    """Load the unit's arms, measure its blocks, then trace the arms that are asked for."""
    import torch

    plan = request.plan
    device = choose_device(plan.device)
    if plan.thread_count is not None:
        torch.set_num_threads(plan.thread_count)
    arms: dict[int, LoadedArm] = {}
    for arm in request.unit.arms:
        channel.send("stage", "loading", detail=plan.arms[arm].name)
        source, reader = plan.arms[arm].weights_of, plan.arms[arm].tokens_of
        if source is not None and reader is not None:
            arms[arm] = _swapped(arms[source], arms[reader])
        else:
            arms[arm] = _loaded_arm(plan, arm, device, channel)
    on_gpu = device.startswith("cuda")
    probe, unread = clock_probe(device) if on_gpu else (None, [])
    header = Header(
        process=request.unit.process,
        session=request.session,
        arms=request.unit.arms,
        environment=machine(device),
        models=tuple(model_facts(arms[arm].loaded, arms[arm].request) for arm in request.unit.arms),
        prompt_token_counts=tuple(tuple(map(len, arms[arm].prompts)) for arm in request.unit.arms),
        content_token_counts=tuple(tuple(map(len, arms[arm].contents)) for arm in request.unit.arms),
        notes=tuple(unread),
    )
    channel.ask("header", detail=msgspec.json.encode(header).decode())
    channel.ask("sampling", detail=device_uuid(device))
    clock: Clock = CudaClock(device, probe=probe) if on_gpu else HostClock()
    gc.collect()
    gc.freeze()
    gc.disable()
    channel.send("stage", "warm-up")
    for arm in request.unit.arms:
        _sample(arms[arm], arm, plan, request.blocks[0] if request.blocks else None, clock)
    for block in request.blocks:
        channel.send("stage", "blocks")
        started = time.monotonic_ns()
        if on_gpu:  # a length that is new to an arm means choosing and loading kernels, and fresh memory
            for arm in dict.fromkeys(block.order):
                arms[arm].engine(block.item, plan.batch_size).prefill()
        samples = tuple(_sample(arms[arm], arm, plan, block, clock) for arm in block.order)
        finished = FinishedBlock(session=request.session, block=block, samples=samples)
        channel.send(
            "block", detail=msgspec.json.encode(finished).decode(), count=(time.monotonic_ns() - started) // 1_000_000
        )
        gc.collect()
        Interrupts.check()
    channel.ask("sampling ends")
    if isinstance(clock, CudaClock) and clock.probe_failure:
        channel.ask("note", detail=msgspec.json.encode(clock_unread(clock.probe_failure)).decode())
    if on_gpu:
        clock = CudaClock(device)  # under the profiler the probe's kernel would be one of the model's
    # Only where host and device are two does a trace tell the host's gap, which every process has of its own.
    for arm in request.traced_arms if on_gpu or request.unit.process == 0 else ():
        channel.send("stage", "tracing", detail=plan.arms[arm].name)
        _trace(arms[arm], request.traced_item, plan, clock, folder / "kineto.json", on_gpu=on_gpu)
        channel.ask("trace", detail=str(arm))


def _loaded_arm(plan: Plan, arm: int, device: str, channel: Channel) -> LoadedArm:
    from tokprof.models.loading import load

    request = arm_request(plan, arm)
    spec = model_spec(request, device)
    with out_of_memory_explained(spec):
        loaded = load(spec, fetching(channel))
    prompts, contents = tokens_of(plan, request.model, loaded.tokenizer, loaded.context_token_count)
    return LoadedArm(
        loaded=loaded, request=request, prompts=tuple(map(tuple, prompts)), contents=tuple(map(tuple, contents))
    )


def tokens_of(
    plan: Plan, model: str, tokenizer: "Tokenizer | None", context_token_count: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Return the tokens of each item's prompt and content.

    Raises
    ------
    InputError
        No tokenizer, a text of too few tokens to measure a step, or of more than the model's context holds.
    """
    if tokenizer is None:
        raise InputError(
            f"{model}: has no tokenizer here, so it cannot read the corpus; name a folder that holds a tokenizer.json, "
            "or a model for which `tokprof models` lists a tokenizer"
        )
    prompts = tokenizer.encode_batch([item.prompt for item in plan.items])
    contents = tokenizer.encode_batch([item.content for item in plan.items])
    for item, prompt, content in zip(plan.items, prompts, contents, strict=True):
        if not prompt or len(content) < 2:
            raise InputError(
                f"{item.language}/{item.task}: {len(prompt)} tokens to read and {len(content)} to decode for "
                f"{model}; a step wants two, so pass a larger --content-share or --prompt-share"
            )
        longest = len(prompt) + max(len(content), plan.natural_token_count)
        if longest > context_token_count:
            raise InputError(
                f"{item.language}/{item.task}: {longest:,} tokens exceed the context of {model}, "
                f"{context_token_count:,}; pass a smaller --prompt-share, --content-share or --natural"
            )
    return prompts, contents


def _swapped(source: LoadedArm, reader: LoadedArm) -> LoadedArm:
    """Return the one's weights with the other's tokens, kept within its vocabulary: only their number matters."""
    size = source.loaded.vocabulary_count

    def within(rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(number % size for number in row) for row in rows)

    loaded = replace(source.loaded, tokenizer_digest=reader.loaded.tokenizer_digest)
    return LoadedArm(
        loaded=loaded, request=source.request, prompts=within(reader.prompts), contents=within(reader.contents)
    )


def _sample(arm: LoadedArm, number: int, plan: Plan, block: Block | None, clock: Clock) -> Sample:
    """Measure one arm on a block's item; without a block, on the first item, to warm up."""
    item = 0 if block is None else block.item
    forced = block is None or block.mode is DecodeMode.TEACHER_FORCED
    count = len(arm.contents[item]) if forced else plan.natural_token_count
    work = Workload(mode=DecodeMode.TEACHER_FORCED if forced else DecodeMode.NATURAL, new_token_count=count)
    result = repeat(arm.engine(item, plan.batch_size), clock, work)
    device = result.instants.device_ns
    ids = set(itertools.chain.from_iterable(row[: result.wanted_count] for row in result.sampled_ids))
    return Sample(
        arm=number,
        host_ns=tuple(result.instants.host_ns.tolist()),
        device_ns=None if device is None else tuple(device.tolist()),
        pause_host_ns=result.instants.pause_host_ns,
        pause_device_ns=result.instants.pause_device_ns,
        sm_clocks=tuple((r.cycle_count, r.duration_ns) for r in result.instants.sm_clocks),
        token_count=result.wanted_count,
        ended=not forced and not ids.isdisjoint(arm.loaded.end_ids),
    )


def _trace(arm: LoadedArm, item: int, plan: Plan, clock: Clock, file: Path, *, on_gpu: bool) -> None:
    steps = min(len(arm.contents[item]) - 1, plan.trace_step_count)
    work = Workload(mode=DecodeMode.TEACHER_FORCED, new_token_count=steps + 1)
    profiler: Any
    profiler, _ = profiled(
        arm.engine(item, plan.batch_size), clock, work, repetition_count=TRACED_REPETITIONS, on_gpu=on_gpu
    )
    profiler.export_chrome_trace(str(file))


if __name__ == "__main__":
    run_child(StudyRequest, measure)
