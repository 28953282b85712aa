"""Everything worth knowing from one GPU in one call: ceilings, profiles at true shape, kernels, tests, comparisons.

    make gpu                                                       # into benchmarks/results/<device>/
    make gpu-study                                                 # into the same folder: `tokprof attribute`
    python benchmarks/gpu_evidence.py --list                       # the parts, what each should take and may take
    python benchmarks/gpu_evidence.py --out FOLDER --only 'smollm2-*'   # again, or what there was no time for
    python benchmarks/gpu_evidence.py --dry-run --out FOLDER       # every path of both on a CPU, at tiny shapes

Each part is a process of the ordinary command line with a time limit of its own (see evidence_parts.py). Parts come in
the order of their worth, and what they should take together leaves a reserve of the 520 seconds; those for which no
time is left are recorded as skipped. The folder holds the environment, the calibration, the kernels' times, runs
without their traces, comparisons, what measuring costs, and two traces cut to one repetition: a few megabytes. The
exit code is 1 only where nothing at all was done.

Weights are random (the SmolLM2 part that wants trained ones is absent where the package index is out of reach), so
nothing is downloaded. A batch that does not fit the device's memory is not tried: it is halved until it does, and the
outcome says so. None of this has run on a GPU yet; what parts should take is computed from the constants below, which
are guesses until it has, and outcomes.json then has the time that each took beside them.

A machine without a network needs, beside torch, triton, transformers, pyarrow and numpy, wheels of:

    required   isal msgspec nvidia-ml-py rich scipy typer xxhash, accelerate peft safetensors, pytest hypothesis
    py-spy     host stacks; without it the runs hold a note instead
    mistral-common, gguf   text instead of random tokens as Codestral's and SmolLM2's prompts

and tokprof itself, by setuptools>=77: pip install --no-index --no-deps --no-build-isolation .
"""

import argparse
import contextlib
import fnmatch
import gzip
import itertools
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from evidence_parts import RESERVE_S, ROOT, Evidence, Outcome, Part

BUDGET_S = 520.0  # of all parts: a call of nine minutes with room for its start and end
MEMORY_SHARE = 0.95  # of the device's memory that a plan may fill
LISTED_MEMORY_BYTES = 80 << 30  # of the device whose parts are listed where there is none
PREFILL_LIMIT_S = 8.0  # a batch whose prefill takes longer is not worth its time
LORA_RANK = 16
TEXT_BYTES = 1070  # of a text of the corpus, in the mean of those that a study draws; a byte is a token there
CONTENT_SHARE = 0.023  # of it, which a study decodes
GIGA = 1e9

# What things should take on an H100 beside which 16 cores stand: on the safe side of what its data sheet, and the same
# commands on other machines, let expect.
COLD_S = 15.0  # the first import of torch and transformers, from a disk that has not read them yet
START_S = 8.0  # a process that imports them again and opens the device
COMMAND_S = 2.0  # one that needs neither
DRAWN_BYTES_PER_S = 20e9  # random weights, drawn on the device: by torch's layers, then again by transformers
PREFILL_FLOPS_PER_S = 500e12
READ_BYTES_PER_S = 2.2e12
LAYER_S = 0.7e-3  # of the host, for one layer of a decode step in eager mode
AROUND_S = 4.0  # a shape's first launches, the profiler's start and export, and joining it all
TRACE_S = 2.0  # the profiler's start and export alone
STACKS_S = 9.0  # two passes beside py-spy
GRAPH_S = 15.0  # torch.compile of one of three graphs: the prefill, a first step, a step of any length
TESTS_S = 58.0  # of it 22 for two windows of the energy counter
KERNEL_S, CASE_S = 0.6, 0.4  # compiling a Triton kernel; checking and timing it and the library's at one shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is measured: models, shapes and how thoroughly."""

    device: str
    models: tuple[tuple[str, str], ...]  # short name and zoo name; the first also runs with the Triton kernels
    small: tuple[str, str]  # this one is also compiled and adapted
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    new_tokens: int
    clean_s: float  # of clean repetitions of a shape
    repeat: tuple[str, ...]
    trace_steps: int
    tests: tuple[str, ...]
    calibrate: tuple[str, ...]
    kernels: tuple[str, ...]
    overhead: tuple[str, ...]
    study_processes: int
    study: tuple[str, ...]
    trained: str = "real"
    memory_bytes: int | None = None
    patience: float = 1.0  # of the limits


def true_sizes(memory_bytes: int | None) -> Sizes:
    return Sizes(
        device="cuda",
        models=(("codestral", "Codestral-22B-v0.1"), ("starcoder", "StarCoder")),
        small=("smollm2", "SmolLM2-135M-Instruct"),
        batches=(1, 32),
        contexts=(512, 8192),
        new_tokens=16,
        clean_s=1.5,
        repeat=("--precision", "0.02"),
        trace_steps=9,
        tests=("tests/measure/test_gpu.py", "tests/kernels"),  # to collect the others takes a good part of the limit
        calibrate=("--seconds", "0.25"),
        kernels=("--context", "2048", "--context", "8192", "--context", "32768", "--samples", "20"),
        overhead=("--quadruples", "4", "--new-tokens", "8", "--sampler-seconds", "4"),
        study_processes=3,
        study=("--languages", "python,go,rust,gleam,odin,roc", "--apart"),  # side by side they would need 178 GB
        memory_bytes=memory_bytes,
    )


def tiny_sizes() -> Sizes:
    return Sizes(
        device="cpu",
        models=(("codestral", "tiny-mistral"), ("starcoder", "tiny-gpt-bigcode")),
        small=("smollm2", "tiny-llama"),
        batches=(1, 2),
        contexts=(8, 12),
        new_tokens=4,
        clean_s=0.1,
        repeat=("-r", "1", "--threads", "1"),
        trace_steps=3,
        tests=("tests/measure/test_gpu.py",),
        calibrate=("--seconds", "0.01"),
        kernels=("--list",),
        overhead=("--quadruples", "2", "--prompt-tokens", "4", "--new-tokens", "3", "--sampler-seconds", "0.5"),
        study_processes=1,
        study=("--languages", "python,gleam", "--threads", "1"),
        trained="random",
        patience=6.0,  # a machine with few cores, which others use as well
    )


# ----------------------------------------------------------------------------------------------------- time and memory


def repetition_s(model: str, batch: int, context: int, new_tokens: int) -> tuple[float, float]:
    """Return what the prefill and a decode step of a batch should take in eager mode, in bfloat16."""
    from tokprof.models import cost, zoo

    shape = cost.shape_of(zoo.entry(model).config)
    read = cost.step_cost(shape, batch_size=batch, token_count=context, context_token_count=0, dtype="bfloat16")
    flops = sum(operator.flop_count + operator.redundant_flop_count for operator in read)
    cached = batch * (context + new_tokens) * cost.kv_bytes_per_token(shape, "bfloat16")
    host_s = LAYER_S * shape.layer_count
    step_s = max(host_s, (cost.weight_bytes_per_token(shape, "bfloat16") + cached) / READ_BYTES_PER_S)
    return max(host_s, flops / PREFILL_FLOPS_PER_S), step_s


def load_s(model: str) -> float:
    """Return what a process takes until a model of random weights is on the device."""
    return START_S + weight_bytes(model) / DRAWN_BYTES_PER_S


def profile_s(model: str, shapes: Iterable[tuple[int, int]], sizes: Sizes) -> float:
    """Return what profiling shapes with the model loaded once should take, a clean and a kernel pass each."""
    seconds = load_s(model)
    for number, (batch, context) in enumerate(shapes):
        prefill_s, step_s = repetition_s(model, batch, context, sizes.new_tokens)
        once_s = prefill_s + (sizes.new_tokens - 1) * step_s
        clean = math.ceil(sizes.clean_s / once_s)
        seconds += (1 + clean) * once_s + AROUND_S  # one more to warm up
        first = number == 0  # whose first prefill and step under the profiler set it up
        profiled_s = (min(3, clean) + first) * prefill_s + (sizes.trace_steps + first) * step_s
        seconds += profiled_s + sizes.trace_steps * step_s  # a step takes the host longer there
    return seconds


def study_s(model: str, sizes: Sizes) -> float:
    """Return what a study of four arms, each in processes of its own, should take."""
    prefill_s, step_s = repetition_s(model, 1, round(0.2 * TEXT_BYTES), sizes.new_tokens)
    sample_s = prefill_s + CONTENT_SHARE * TEXT_BYTES * step_s
    languages = sizes.study[1].count(",") + 1
    # A sample to warm up, and before each other a prefill; three short traced repetitions and what sets tracing up.
    measured_s = (1 + languages) * sample_s + languages * prefill_s
    traced_s = TRACE_S + 2 * (4 * prefill_s + 10 * step_s)  # the host takes twice as long there
    return 4 * sizes.study_processes * (load_s(model) + measured_s + traced_s)


def weight_bytes(model: str) -> int:
    from tokprof.models import cost, zoo

    return cost.parameter_count(cost.shape_of(zoo.entry(model).config)) * cost.DTYPE_BYTES["bfloat16"]


def memory_needed(model: str, batch: int, context: int) -> tuple[float, float, float]:
    """Return the bytes of weights, cache and a prefill's activations in bfloat16.

    Of the activations, three of a feed-forward's and four of a layer's width live at once.
    """
    from tokprof.models import cost, zoo

    shape = cost.shape_of(zoo.entry(model).config)
    token_count = batch * context
    cache = token_count * cost.kv_bytes_per_token(shape, "bfloat16")
    return weight_bytes(model), cache, token_count * 2 * (3 * shape.ffn + 4 * shape.hidden)


def fitting_batch(
    model: str, batch: int, context: int, memory_bytes: int | None, *, prefill_limit_s: float = PREFILL_LIMIT_S
) -> tuple[int, str]:
    """Halve a batch until it fits into memory and time, and say why; where nobody tells the memory, it stays."""
    if memory_bytes is None:
        return batch, ""
    asked, limit = batch, MEMORY_SHARE * memory_bytes
    while batch > 1 and sum(memory_needed(model, batch, context)) > limit:
        batch //= 2
    fitting = batch
    while batch > 1 and repetition_s(model, batch, context, 1)[0] > prefill_limit_s:
        batch //= 2
    if batch == asked:
        return batch, ""
    weights, cache, activations = (size / GIGA for size in memory_needed(model, asked, context))
    why = []
    if fitting < asked:
        needed = f"{weights:.1f} GB of weights, {cache:.1f} of cache and {activations:.1f} of activations"
        why.append(f"{needed} exceed {limit / GIGA:.1f}")
    if batch < fitting:
        seconds = repetition_s(model, fitting, context, 1)[0]
        why.append(f"a prefill of {fitting}x{context} would take {seconds:.0f} s")
    return batch, f"{asked}x{context} was not tried: {'; '.join(why)}; {batch}x{context} is in its place"


def prompt_tokens(model: str, context: int, new_tokens: int) -> int:
    """Return a prompt's length: the context, or what the model's positions leave of it beside the new tokens."""
    from tokprof.models import cost, zoo

    return min(context, cost.shape_of(zoo.entry(model).config).context_token_count - new_tokens)


def shapes_of(model: str, sizes: Sizes) -> tuple[list[tuple[int, int]], str]:
    """Return the batches and prompt lengths that are measured of a model, and what was not tried."""
    shapes, remarks = [], []
    for context, asked in itertools.product(sizes.contexts, sizes.batches):
        length = prompt_tokens(model, context, sizes.new_tokens)
        batch, remark = fitting_batch(model, asked, length, sizes.memory_bytes)
        shapes.append((batch, length))
        remarks += [remark] if remark else []
    return list(dict.fromkeys(shapes)), "; ".join(remarks)


# --------------------------------------------------------------------------------------------------------------- plan


def parts(sizes: Sizes, work: Path, results: Path, *, study: bool = False) -> list[Part]:
    """Return every part of the evidence, or of the study, the most worth knowing first."""
    python, script = sys.executable, str(Path(__file__).resolve())
    device = ("--device", sizes.device)

    def part(name: str, words: Iterable[object], expected_s: float, **more: Any) -> Part:
        limit_s = sizes.patience * (1.5 * expected_s + 20)
        return Part(name=name, words=tuple(map(str, words)), expected_s=expected_s, limit_s=limit_s, **more)

    def tokprof(*words: object) -> tuple[object, ...]:
        return (python, "-m", "tokprof.profiler", *words)

    def profile(
        name: str, model: str, *options: object, shapes: list[tuple[int, int]] | None = None, more_s: float = 0.0,
        skip: tuple[str, ...] = ("energy", "stacks"), **more: Any,
    ) -> Part:  # fmt: skip
        chosen = shapes or [(1, prompt_tokens(model, sizes.contexts[0], sizes.new_tokens))]
        words = tokprof(
            *("profile", model, *(() if "--weights" in options else ("--weights", "random")), *device),
            *(word for batch, length in chosen for word in ("--shape", f"{batch}x{length}")),
            *("-n", sizes.new_tokens, "--time-limit", sizes.clean_s, *sizes.repeat, "--trace-steps", sizes.trace_steps),
            *(word for kind in skip for word in ("--skip", kind)),
            *(*options, "--out", work / name),
        )
        return part(name, words, profile_s(model, chosen, sizes) + more_s, **more)

    def compare(name: str, a: str, b: str) -> Part:
        a, b = (run if "/" in run else f"{run}/b1-c{sizes.contexts[0]}" for run in (a, b))
        words = tokprof("compare", work / a, work / b, "--no-page", "--json")
        return part(name, words, COMMAND_S + 1, needs=(a, b), output=f"{name}.json")

    def prepared(short: str, model: str) -> Part:
        words = (python, script, "prepare", model, work / f"{short}-model")
        return part(f"{short}-model", words, START_S, packages=("peft",))

    if study:
        return [
            made
            for short, model in reversed(sizes.models)  # the smaller one first
            for made in (
                prepared(short, model),
                part(
                    f"{short}-study",
                    tokprof(
                        *("attribute", "--base", work / f"{short}-model/base", "--weights", "random"),
                        *("--adapter", work / f"{short}-model/adapter", "--placebo", work / f"{short}-model/adapter"),
                        *("-P", sizes.study_processes, *sizes.study, *device, "--prompt-share", 0.2),
                        *("--content-share", CONTENT_SHARE, "--natural", 0, "--trace-steps", 3),
                        *("--out", work / f"{short}-study"),
                    ),
                    study_s(model, sizes),
                    needs=(f"{short}-model",),
                    packages=("peft",),
                ),
                part(
                    f"{short}-report",  # also of a study that was ended before its time
                    tokprof("attribute", "--from", work / f"{short}-study", "--json"),
                    COMMAND_S + 3,
                    needs=(f"{short}-study",),
                    output=f"{short}-study.json",
                ),
            )
        ]

    def shaped(short: str, model: str) -> list[Part]:
        shapes, remark = shapes_of(model, sizes)
        base = f"{short}/b1-c{sizes.contexts[0]}"
        cut = (python, script, "trim", work / base / "trace.json.gz", results / f"trace-{short}.json.gz")
        return [
            profile(short, model, shapes=shapes, remark=remark),
            part(f"trace-{short}", cut, COMMAND_S, needs=(base,)),
        ]

    (first, model), (small, small_model) = sizes.models[0], sizes.small
    interpreter = (("TRITON_INTERPRET", "1"),) if sizes.device == "cpu" else ()
    adapted = ("--adapter", work / f"{small}-model/adapter")
    peft: dict[str, Any] = {"needs": (f"{small}-model",), "packages": ("peft",)}
    tests = ("-m", "gpu", "-v", "--durations=10", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    overhead = (python, ROOT / "benchmarks/overhead.py", "--model", small_model, "--weights", "random")
    return [
        part("environment", tokprof("env", "--json"), COMMAND_S + 3, output="environment.json"),
        part(
            "calibrate",
            tokprof("calibrate", *device, *sizes.calibrate, "--out", results / "calibration.json"),
            COLD_S + START_S + 8 * KERNEL_S + 10,
        ),
        *itertools.chain.from_iterable(shaped(*pair) for pair in sizes.models),
        part(
            "kernels",
            tokprof("kernels", *(w for _, name in sizes.models for w in ("--model", name)), *sizes.kernels, "--json"),
            START_S + 26 * KERNEL_S + 66 * CASE_S,
            output="kernels.json",
        ),
        profile(f"{first}-triton", model, "--kernels", "triton", more_s=8 * KERNEL_S, environment=interpreter),
        compare(f"compare-{first}-triton", first, f"{first}-triton"),
        part("tests", (python, "-m", "pytest", *tests, *sizes.tests), 2 * START_S + TESTS_S),
        profile(f"{small}-eager", small_model, skip=("energy",), more_s=STACKS_S),
        prepared(small, small_model),
        profile(f"{small}-unmerged", small_model, *adapted, **peft),
        profile(f"{small}-merged", small_model, *adapted, "--merge", **peft),
        compare(f"compare-{small}-adapter", f"{small}-merged", f"{small}-unmerged"),
        part("overhead", (*overhead, *sizes.overhead, "--out", results / "overhead.json"), START_S + 17),
        profile(f"{small}-compiled", small_model, "--compile", more_s=3 * GRAPH_S),
        compare(f"compare-{small}-compiled", f"{small}-eager", f"{small}-compiled"),
        part(f"{small}-pull", tokprof("models", "pull", small_model), COMMAND_S, optional=True),
        profile(f"{small}-trained", small_model, "--weights", sizes.trained, needs=(f"{small}-pull",)),
    ]


def chosen(plan: list[Part], patterns: Iterable[str]) -> list[Part]:
    """Return the parts whose names match, with all that they need, in the plan's order."""
    known = {part.name: part for part in plan}
    wanted: set[str] = set()
    todo = []
    for pattern in patterns:
        matching = fnmatch.filter(known, pattern)
        if not matching:
            raise SystemExit(f"--only {pattern}: no such part; there are {', '.join(known)}")
        todo += matching
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += [need.partition("/")[0] for need in known[name].needs]
    return [part for part in plan if part.name in wanted]


# ---------------------------------------------------------------------------------- what has no command of its own


def prepare(model: str, folder: Path) -> None:
    """Write what an adapted model and a study need below a folder: ``adapter`` and ``base``."""
    write_adapter(model, folder / "adapter")
    write_base(model, folder / "base")


def write_adapter(model: str, folder: Path) -> None:
    """Write a LoRA adapter of random values for a zoo model; the model's own weights are never made."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    from tokprof.models.tuning import LORA_TARGETS

    config = _config(model)
    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        lora = LoraConfig(
            r=LORA_RANK,
            lora_alpha=2 * LORA_RANK,
            target_modules=list(LORA_TARGETS[config.model_type]),
            task_type="CAUSAL_LM",
        )
        adapted = get_peft_model(bare, lora)
    draw = torch.Generator().manual_seed(0)
    state = get_peft_model_state_dict(adapted)
    # Both factors random: with a zero factor the merged weights would be the base's own.
    values = {n: 0.01 * torch.randn(t.shape, generator=draw) for n, t in state.items()}
    folder.mkdir(parents=True)
    lora.inference_mode = True
    lora.save_pretrained(folder)
    save_file(values, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    print(f"{folder}: {sum(v.numel() for v in values.values()):,} parameters, rank {LORA_RANK}, float32")


def write_base(model: str, folder: Path) -> None:
    """Write a zoo model's configuration with a tokenizer whose tokens are bytes, so that a study can read a corpus."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(signs)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    config = _config(model)
    config.max_position_embeddings = max(4096, config.max_position_embeddings)
    config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def _config(model: str) -> Any:
    from transformers import AutoConfig

    from tokprof.models import zoo

    values = dict(zoo.entry(model).config)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def trim(source: str, out: Path) -> None:
    """Keep of a run's trace its first profiled repetition: what the host did in it, and what that launched."""
    with gzip.open(source) as stream:
        document = json.load(stream)
    events = document["traceEvents"]
    named = [e for e in events if re.fullmatch(r"tokprof\.(prefill|decode)#rep=0\b.*", e.get("name", ""))]
    if not named:
        raise SystemExit(f"{source}: names no profiled repetition")
    # The device's annotations bear the same names, but its work ends later than the host's.
    host = [e for e in named if e.get("cat") == "user_annotation"]
    first, last = min(e["ts"] for e in host), max(e["ts"] + e["dur"] for e in host)
    on_host = [e for e in events if "stream" not in e.get("args", {}) and first <= e.get("ts", -1) <= last]
    launched = {e["args"]["correlation"] for e in on_host if "correlation" in e.get("args", {})}
    arrows = {e["id"] for e in on_host if e["ph"] == "s"}
    inside = {id(e) for e in on_host} | {id(e) for e in named}

    def kept(event: dict[str, Any]) -> bool:
        if event["ph"] == "f":
            return event["id"] in arrows
        return event["ph"] == "M" or id(event) in inside or event.get("args", {}).get("correlation") in launched

    document["traceEvents"] = [e for e in events if kept(e)]
    with out.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as stream:
        stream.write(json.dumps(document, separators=(",", ":")).encode())
    print(f"{out}: {len(document['traceEvents']):,} of {len(events):,} events")


# --------------------------------------------------------------------------------------------------------------- main


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a stop from outside end the running part as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _commit() -> str | None:
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return None


def gather(options: argparse.Namespace) -> int:
    from tokprof.profiler.environment import environment

    device = environment("cpu" if options.dry_run else "cuda").device
    if device.memory_bytes is None and not (options.dry_run or options.list):
        raise SystemExit("no NVIDIA GPU answers here; --dry-run goes through every part on a CPU")
    place = "-".join(re.findall(r"[a-z0-9]+", device.name.lower()))
    results = (options.out or ROOT / "benchmarks/results" / place).resolve()
    facts = {
        "device": asdict(device),
        "dry_run": options.dry_run,
        "commit": _commit(),
        "budget_s": options.budget,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with tempfile.TemporaryDirectory(prefix="tokprof-evidence-") as name, _terminated_as_interrupted():
        work = Path(name)
        sizes = tiny_sizes() if options.dry_run else true_sizes(device.memory_bytes or LISTED_MEMORY_BYTES)
        plan = [] if options.study else parts(sizes, work, results)
        plan += parts(sizes, work, results, study=True) if options.study or options.dry_run else []
        if options.only:
            plan = chosen(plan, options.only.split(","))
        if options.list:
            print("\n".join(f"{p.name:28}{p.expected_s:6.0f} s, at most {p.limit_s:.0f} s" for p in plan))
            print(f"{'all':28}{sum(p.expected_s for p in plan):6.0f} s of {options.budget - RESERVE_S:.0f}")
            return 0
        more = {"COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
        if options.dry_run:
            # A calibration of a hundredth of a second must not become this machine's, and compiling takes a minute.
            more |= {"TOKPROF_CACHE": str(work / "cache"), "TORCHDYNAMO_DISABLE": "1"}
        evidence = Evidence(results, work, budget_s=options.budget, environment=more, facts=facts)
        if (earlier := {part.name for part in plan} & set(evidence.outcomes)) and not options.only:
            words = "choose another --out, or name parts by --only"
            raise SystemExit(f"{results} holds an earlier gathering ({min(earlier)} among it); {words}")
        try:
            evidence.run(plan)
        except KeyboardInterrupt:
            print(f"interrupted; what was finished is in {results}", flush=True)
            return 130
    ended = [evidence.outcomes[part.name] for part in plan]
    print("\n".join(f"{o['outcome']:10} {o['duration_s']:6.1f} s  {o['part']}  {o['detail']}" for o in ended))
    size = sum(file.stat().st_size for file in results.rglob("*") if file.is_file())
    print(f"{results}: {size / 1e6:.1f} MB")
    return 0 if any(o["outcome"] == Outcome.DONE for o in ended) else 1


def main() -> int:
    steps: dict[str, Callable[[str, Path], None]] = {"prepare": prepare, "trim": trim}
    if len(sys.argv) == 4 and sys.argv[1] in steps:
        steps[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default benchmarks/results/<device>")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for all parts")
    parser.add_argument("--only", help="parts by name, with * and commas; what they need is run as well")
    parser.add_argument("--study", action="store_true", help="`tokprof attribute` at true shape in place of the rest")
    parser.add_argument("--list", action="store_true", help="name the parts and their times, and run none")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU, at tiny shapes")
    return gather(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
