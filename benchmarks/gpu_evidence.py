"""Everything worth knowing from one GPU in one call: tests, ceilings, kernels, profiles at true shape, comparisons.

    make gpu                                                       # into benchmarks/results/<device>/
    python benchmarks/gpu_evidence.py --out FOLDER --budget 520
    python benchmarks/gpu_evidence.py --out FOLDER --only 'attribute-*'   # again, or what there was no time for
    python benchmarks/gpu_evidence.py --dry-run --out FOLDER       # every path on a CPU, at tiny shapes

Each part is a process of the ordinary command line with a time limit of its own. One that fails, takes too long or
lacks something costs only itself: its outcome is written to outcomes.json as it ends, its output to logs/. Parts come
in the order of their worth; those for which no time is left are recorded as skipped. The folder holds the environment,
the calibration, the kernels' times, runs without their traces, comparisons, what measuring costs, and two traces cut to
one repetition: a few megabytes. The exit code is 1 only where nothing at all was done.

Weights are random (the SmolLM2 part that wants trained ones is absent where the package index is out of reach), so
nothing is downloaded. A batch that does not fit the device's memory is halved until it does, and the outcome says so.

A machine without a network needs, beside torch, triton, transformers, pyarrow and numpy, wheels of:

    required   isal msgspec nvidia-ml-py rich scipy typer xxhash, accelerate peft safetensors, pytest hypothesis, and
               setuptools>=77 to install tokprof itself: pip install --no-index --no-deps --no-build-isolation .
    py-spy     host stacks; without it the runs hold a note instead
    mistral-common, gguf   text instead of random tokens as Codestral's and SmolLM2's prompts
"""

import argparse
import contextlib
import fnmatch
import gzip
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUDGET_S = 520.0  # of all parts: a call of nine minutes with room for its start and end
GRACE_S = 8.0  # between asking a part to end and ending it
RESERVE_S = 2.0  # of the budget, for copying and recording
LOG_BYTES = 1 << 16
MEMORY_SHARE = 0.95  # of the device's memory that a plan may fill
NOWHERE = "http://127.0.0.1:9"  # refuses at once: nobody waits for a hub or an index that cannot be reached
LORA_RANK = 16


class Outcome(StrEnum):
    """How a part ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    ABSENT = "absent"  # something that it needs is not here
    SKIPPED = "skipped"  # no time was left


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process, what it needs, and what is kept of it."""

    name: str
    words: tuple[str, ...]
    limit_s: float
    needs: tuple[str, ...] = ()  # parts
    packages: tuple[str, ...] = ()
    output: str | None = None  # file of the results that takes standard output; else the log does
    optional: bool = False  # failing means that something is not to be had here
    remark: str = ""

    @property
    def least_s(self) -> float:
        """Below how much time it is not worth starting."""
        return 0.4 * self.limit_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is measured: models, shapes and how thoroughly."""

    device: str
    models: tuple[tuple[str, str], ...]  # short name and zoo name; the first is also compiled by Triton and adapted
    small: tuple[str, str]
    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    new_tokens: int
    repeat: tuple[str, ...]
    trace_steps: int
    tests: tuple[str, ...]
    calibrate: tuple[str, ...]
    kernels: tuple[str, ...]
    overhead: tuple[str, ...]
    study: tuple[str, ...]
    trained: str = "real"
    memory_bytes: int | None = None


def true_sizes(memory_bytes: int | None) -> Sizes:
    return Sizes(
        device="cuda",
        models=(("codestral", "Codestral-22B-v0.1"), ("starcoder", "StarCoder")),
        small=("smollm2", "SmolLM2-135M-Instruct"),
        batches=(1, 32),
        contexts=(512, 8192),
        new_tokens=32,
        repeat=("--time-limit", "3", "--precision", "0.02"),
        trace_steps=9,
        tests=("tests/measure/test_gpu.py", "tests/kernels"),  # to collect the others takes a good part of the limit
        calibrate=(),
        kernels=("--context", "2048", "--context", "8192", "--context", "32768", "--samples", "20"),
        overhead=("--quadruples", "8"),
        study=("-P", "2", "--languages", "python,go,gleam,odin", "--apart"),  # side by side they would need 178 GB
        memory_bytes=memory_bytes,
    )


def tiny_sizes() -> Sizes:
    return Sizes(
        device="cpu",
        models=(("codestral", "tiny-mistral"), ("starcoder", "tiny-gpt-bigcode")),
        small=("smollm2", "tiny-llama"),
        batches=(1, 2),
        contexts=(8,),
        new_tokens=4,
        repeat=("-r", "1", "--threads", "1"),
        trace_steps=3,
        tests=("tests/measure/test_gpu.py",),
        calibrate=("--seconds", "0.01"),
        kernels=("--list",),
        overhead=("--quadruples", "2", "--prompt-tokens", "4", "--new-tokens", "3", "--sampler-seconds", "0.5"),
        study=("-P", "1", "--languages", "python,gleam", "--threads", "1"),
        trained="random",
    )


# --------------------------------------------------------------------------------------------------------------- plan


def parts(sizes: Sizes, work: Path, results: Path) -> list[Part]:
    """Return every part, the most worth knowing first."""
    python, script = sys.executable, str(Path(__file__).resolve())
    device = ("--device", sizes.device)

    def tokprof(*words: object) -> tuple[str, ...]:
        return (python, "-m", "tokprof.profiler", *map(str, words))

    def profile(name: str, model: str, *more: str, limit_s: float = 75, batch: int = 1, context: int = 0) -> Part:
        context = context or sizes.contexts[0]
        passes = [word for kind in ("energy", "stacks") if kind not in more for word in ("--skip", kind)]
        options = [word for word in more if word not in ("energy", "stacks")]
        weights = () if "--weights" in options else ("--weights", "random")
        words = (
            *("profile", model, *weights, *device, "--batch", batch, "-n", sizes.new_tokens),
            *("--prompt-tokens", prompt_tokens(model, context, sizes.new_tokens), *sizes.repeat),
            *("--trace-steps", sizes.trace_steps, *passes, *options, "--out", work / name),
        )
        return Part(name=name, words=tokprof(*words), limit_s=limit_s)

    def compare(name: str, a: str, b: str) -> Part:
        words = tokprof("compare", work / a, work / b, "--no-page", "--json")
        return Part(name=name, words=words, limit_s=30, needs=(a, b), output=f"{name}.json")

    def trimmed(short: str, run: str) -> Part:
        out = results / f"trace-{short}.json.gz"
        words = (python, script, "trim", str(work / run / "trace.json.gz"), str(out))
        return Part(name=f"trace-{short}", words=words, limit_s=30, needs=(run,))

    (first, model), (small, small_model) = sizes.models[0], sizes.small
    context = sizes.contexts[0]
    base = f"{first}-b1-c{context}"
    cells = []
    for (short, name), length, asked in itertools.product(sizes.models, sizes.contexts, sizes.batches):
        batch = fitting_batch(name, asked, length, sizes.memory_bytes)
        key = f"{short}-b{batch}-c{length}"
        # A prefill of a quarter of a million tokens takes seconds: no profiled repetitions beside the clean ones.
        largest = asked == max(sizes.batches) and length == max(sizes.contexts)
        more = ["--skip", "kernels"] if largest else ["energy"] if key == base else []
        cell = profile(key, name, *more, batch=batch, context=length, limit_s=100 if more else 75)
        remark = "" if batch == asked else f"batch {asked} does not fit into this memory"
        cells.append(replace(cell, remark=remark))
    usual = [part for part in cells if "kernels" not in part.words]
    large = [part for part in cells if "kernels" in part.words]

    adapter, unmerged, merged = "adapter", f"{first}-unmerged", f"{first}-merged"
    adapted = ("--adapter", str(work / adapter))
    peft = {"needs": (adapter,), "packages": ("peft",)}
    eager, compiled = f"{small}-eager", f"{small}-compiled"
    study = (
        *("--weights", "random", "--adapter", work / adapter, "--placebo", work / adapter, *sizes.study, *device),
        *("--content-share", 0.03, "--prompt-share", 0.2),
        *("--natural", 0, "--trace-steps", 3, "--out", work / "attribute-study", "--json"),
    )
    tests = ("-m", "gpu", "-v", "--durations=10", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    overhead = (python, str(ROOT / "benchmarks/overhead.py"), "--model", small_model, "--weights", "random")
    return [
        Part(name="environment", words=tokprof("env", "--json"), limit_s=30, output="environment.json"),
        Part(name="tests", words=(python, "-m", "pytest", *tests, *sizes.tests), limit_s=100),
        Part(
            name="calibrate",
            words=tokprof("calibrate", *device, *sizes.calibrate, "--out", results / "calibration.json"),
            limit_s=75,
        ),
        *usual[:1],
        trimmed(first, base),
        profile(f"{first}-triton", model, "--kernels", "triton"),
        compare(f"compare-{first}-triton", base, f"{first}-triton"),
        *usual[1:],
        trimmed(sizes.models[1][0], f"{sizes.models[1][0]}-b1-c{context}"),
        *(
            Part(
                name=f"kernels-{short}",
                words=tokprof("kernels", "--model", name, *sizes.kernels, "--json"),
                limit_s=75,
                output=f"kernels-{short}.json",
            )
            for short, name in sizes.models
        ),
        profile(eager, small_model, "stacks"),
        profile(compiled, small_model, "--compile", limit_s=120),
        compare(f"compare-{small}-compiled", eager, compiled),
        Part(
            name=adapter,
            words=(python, script, "adapter", model, str(work / adapter)),
            limit_s=60,
            packages=("peft",),
        ),
        replace(profile(unmerged, model, *adapted), **peft),
        replace(profile(merged, model, *adapted, "--merge"), **peft),
        compare(f"compare-{first}-adapter", merged, unmerged),
        Part(name="overhead", words=(*overhead, *sizes.overhead, "--out", str(results / "overhead.json")), limit_s=90),
        *large,
        Part(name=f"{small}-pull", words=tokprof("models", "pull", small_model), limit_s=60, optional=True),
        replace(profile(f"{small}-trained", small_model, "--weights", sizes.trained), needs=(f"{small}-pull",)),
        Part(name="attribute-base", words=(python, script, "base", model, str(work / "base")), limit_s=30),
        Part(
            name="attribute-study",
            words=tokprof("attribute", "--base", work / "base", *study),
            limit_s=400,
            needs=("attribute-base", adapter),
            packages=("peft",),
            output="attribute.json",
        ),
    ]


def prompt_tokens(model: str, context: int, new_tokens: int) -> int:
    """Return a prompt's length: the context, or what the model's positions leave of it beside the new tokens."""
    from tokprof.models import cost, zoo

    return min(context, cost.shape_of(zoo.entry(model).config).context_token_count - new_tokens)


def fitting_batch(model: str, batch: int, context: int, memory_bytes: int | None) -> int:
    """Halve a batch until weights, cache and the prefill's activations fit; nobody tells the memory, it stays.

    Of the activations, three of a feed-forward's and four of a layer's width live at once in a bfloat16 prefill.
    """
    from tokprof.models import cost, zoo

    shape = cost.shape_of(zoo.entry(model).config)
    weights = cost.parameter_count(shape) * cost.DTYPE_BYTES["bfloat16"]
    per_token = cost.kv_bytes_per_token(shape, "bfloat16") + 2 * (3 * shape.ffn + 4 * shape.hidden)
    if memory_bytes is None:
        return batch
    while batch > 1 and weights + batch * context * per_token > MEMORY_SHARE * memory_bytes:
        batch //= 2
    return batch


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
            todo += known[name].needs
    return [part for part in plan if part.name in wanted]


# ---------------------------------------------------------------------------------------------------------------- run


class Evidence:
    """Runs parts one after another and keeps the record of how each ended."""

    def __init__(self, results: Path, work: Path, *, budget_s: float, environment: dict[str, str], facts: Any) -> None:
        self.results, self.work = results, work
        self._deadline = time.monotonic() + budget_s
        self._environment = environment
        self._facts = facts
        self.outcomes: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            self.outcomes = {o["part"]: o for o in json.loads((results / "outcomes.json").read_text())["parts"]}
        self._fresh: set[str] = set()  # a part that was done in an earlier call left nothing in this one's work folder
        (results / "logs").mkdir(parents=True, exist_ok=True)

    def run(self, plan: list[Part]) -> None:
        """Run every part within the budget; each outcome is on the disk before the next begins."""
        for number, part in enumerate(plan, start=1):
            left_s = self._deadline - time.monotonic() - RESERVE_S
            print(f"[{number:2}/{len(plan)}] {part.name} ({left_s:.0f} s left)", flush=True)
            started = time.monotonic()
            outcome, detail, code = self._once(part, left_s)
            if outcome is Outcome.DONE:
                self._fresh.add(part.name)
            kept = self._keep(part.name)
            self._record(
                part,
                outcome=outcome,
                detail="; ".join(words for words in (part.remark, detail) if words),
                exit_code=code,
                duration_s=round(time.monotonic() - started, 1),
                run=kept,
            )
            print(f"        {outcome}{f': {detail}' if detail else ''}, {time.monotonic() - started:.1f} s", flush=True)

    def _once(self, part: Part, left_s: float) -> tuple[Outcome, str, int | None]:
        lacking = [name for name in part.packages if importlib.util.find_spec(name) is None]
        if lacking:
            return Outcome.ABSENT, f"{lacking[0]} is not installed", None
        missing = [name for name in part.needs if name not in self._fresh]
        if missing:
            return Outcome.ABSENT, f"wants {missing[0]}", None
        if left_s < part.least_s:
            return Outcome.SKIPPED, f"{max(0.0, left_s):.0f} s were left, it wants {part.least_s:.0f} s", None
        log = self.results / "logs" / f"{part.name}.txt"
        limit_s = min(part.limit_s, left_s)
        code = self._process(part, log, limit_s)
        detail = _last_line(log)
        if code is None:
            return Outcome.TIMED_OUT, f"after {limit_s:.0f} s; {detail}", None
        if code == 0:
            return Outcome.DONE, "", code
        return (Outcome.ABSENT if part.optional else Outcome.FAILED), detail, code

    def _process(self, part: Part, log: Path, limit_s: float) -> int | None:
        """Run a part's process in a session of its own; return its exit code, ``None`` if it took too long."""
        output = None if part.output is None else self.results / part.output
        online = {} if part.optional else {"HF_ENDPOINT": NOWHERE, "HF_HUB_OFFLINE": "1", "PIP_INDEX_URL": NOWHERE}
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(log.open("wb"))
            process = subprocess.Popen(
                part.words,
                stdin=subprocess.DEVNULL,
                stdout=errors if output is None else stack.enter_context(output.open("wb")),
                stderr=errors,
                cwd=ROOT,
                env=os.environ | self._environment | online,
                start_new_session=True,
            )
            try:
                code = process.wait(max(1.0, limit_s - GRACE_S))
            except subprocess.TimeoutExpired:
                code = None
                process.send_signal(signal.SIGINT)  # a profile keeps the repetitions that it has finished
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
            finally:
                end_session(process.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
        if output is not None and output.stat().st_size == 0:
            output.unlink()
        if log.stat().st_size > LOG_BYTES:
            log.write_bytes(b"(the beginning was cut off)\n" + log.read_bytes()[-LOG_BYTES:])
        return code

    def _keep(self, name: str) -> str | None:
        """Copy a run or a study, whole or interrupted, without traces and pages, which are large."""
        if not any((self.work / name / file).is_file() for file in ("run.json", "plan.json")):
            return None
        kept = self.results / "runs" / name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.work / name, kept, ignore=shutil.ignore_patterns("trace*", "*.html"))
        return f"runs/{name}"

    def _record(self, part: Part, **facts: Any) -> None:
        shown = [word.replace(str(self.work), "WORK").replace(str(self.results), "RESULTS") for word in part.words]
        shown = [word.replace(sys.executable, "python").replace(f"{ROOT}/", "") for word in shown]
        self.outcomes[part.name] = {
            "part": part.name,
            **facts,
            "limit_s": part.limit_s,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(shown),
        }
        document = {**self._facts, "parts": list(self.outcomes.values())}
        fresh = self.results / ".outcomes.new"
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(self.results / "outcomes.json")  # never seen half-written


def end_session(leader: int) -> None:
    """Kill what is left of a session; measured processes and compilers have process groups of their own in it."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(entry.read_text().rpartition(")")[2].split()[3]) == leader:
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


# ---------------------------------------------------------------------------------- what has no command of its own


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


def trim(source: Path, out: Path) -> None:
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
    if not options.dry_run and device.memory_bytes is None:
        raise SystemExit("no NVIDIA GPU answers here; --dry-run goes through every part on a CPU")
    place = "-".join(re.findall(r"[a-z0-9]+", device.name.lower()))
    results = (options.out or ROOT / "benchmarks/results" / place).resolve()
    if (results / "outcomes.json").exists() and not options.only:
        raise SystemExit(f"{results} holds an earlier gathering; choose another --out, or name parts by --only")
    facts = {
        "device": asdict(device),
        "dry_run": options.dry_run,
        "commit": _commit(),
        "budget_s": options.budget,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with tempfile.TemporaryDirectory(prefix="tokprof-evidence-") as name, _terminated_as_interrupted():
        work = Path(name)
        plan = parts(tiny_sizes() if options.dry_run else true_sizes(device.memory_bytes), work, results)
        if options.only:
            plan = chosen(plan, options.only.split(","))
        if options.list:
            print("\n".join(f"{part.name:28} {part.limit_s:4.0f} s at most" for part in plan))
            return 0
        more = {"COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
        if options.dry_run:
            # A calibration of a hundredth of a second must not become this machine's, and compiling takes a minute.
            more |= {"TOKPROF_CACHE": str(work / "cache"), "TORCHDYNAMO_DISABLE": "1"}
        evidence = Evidence(results, work, budget_s=options.budget, environment=more, facts=facts)
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
    steps = {"adapter": write_adapter, "base": write_base, "trim": lambda source, out: trim(Path(source), out)}
    if len(sys.argv) == 4 and sys.argv[1] in steps:
        steps[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default benchmarks/results/<device>")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds for all parts")
    parser.add_argument("--only", help="parts by name, with * and commas; what they need is run as well")
    parser.add_argument("--list", action="store_true", help="name the parts and run none")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU, at tiny shapes")
    return gather(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
