"""What measuring costs: the clean pass with its sampler on, against the bare loop without tokprof.

Both run in one process on one model in interleaved ABBA quadruples of repetitions (prefill and every decode step), so
that drift of the machine falls on both. The sampler is stopped (SIGSTOP) while the bare loop runs. The unit of the
interval is the quadruple. Beside it stand the same design without any difference (its noise floor), the factors of the
disturbed passes, and the sampler's own share of a core.

    python benchmarks/overhead.py --quadruples 120 --out benchmarks/results/cpu-2core/overhead.json

Where there is no NVIDIA driver, the sampler meets the stub that the tests compile, so that it does its real work.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from tokprof.models.engine import TransformersEngine, cache_parameter
from tokprof.models.loading import ModelSpec, load
from tokprof.profiler.environment import environment
from tokprof.profiler.measure.clocks import CudaClock, HostClock
from tokprof.profiler.measure.loop import Workload, repeat
from tokprof.profiler.record import DecodeMode, Note
from tokprof.profiler.sensors.pyspy import start_pyspy
from tokprof.profiler.sensors.samples import SamplerProcess


def bare_loop(model, prompt, continuation, steps):
    """Greedy decoding as one would write it without tokprof; returns its wall time in nanoseconds."""
    name = cache_parameter(model)
    started = time.perf_counter_ns()
    with torch.inference_mode():
        output = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
        output.logits[:, -1, :].argmax(dim=-1, keepdim=True)
        for step in range(steps):
            token = continuation[:, step : step + 1]
            output = model(input_ids=token, use_cache=True, logits_to_keep=1, **{name: output[name]})
            output.logits[:, -1, :].argmax(dim=-1, keepdim=True)
    if prompt.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter_ns() - started


def interval(log_ratios):
    """Return the change that log ratios mean: the mean with Student's interval, and the median of pairwise means."""
    values = np.asarray(log_ratios)
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    mean = float(values.mean())
    walsh = (values[:, None] + values[None, :])[np.triu_indices(len(values))] / 2
    return {
        "change": float(np.expm1(mean)),
        "low": float(np.expm1(mean - half)),
        "high": float(np.expm1(mean + half)),
        "Hodges-Lehmann": float(np.expm1(np.median(walsh))),
        "quadruples": len(values),
    }


def abba(a, b, count, *, on_b=lambda: None, on_a=lambda: None):
    """Run quadruples and return the log ratio b/a of each."""
    ratios = []
    for quadruple in range(count):
        times = {"A": [], "B": []}
        for arm in ("ABBA", "BAAB")[quadruple % 2]:
            (on_a if arm == "A" else on_b)()
            times[arm].append((a if arm == "A" else b)())
        ratios.append(float(np.mean(np.log(times["B"])) - np.mean(np.log(times["A"]))))
        if quadruple % 10 == 9:
            print(f"{quadruple + 1}/{count}: {np.expm1(np.mean(ratios)):+.3%} so far", flush=True)
    return ratios


def meet_the_stub(folder):
    """Let the sampler find the tests' NVML stub where there is no driver; without a C compiler it samples the host."""
    build = Path(__file__).parent.parent / "tests/nvml_stub/build.py"
    if subprocess.run([sys.executable, str(build), str(folder)], check=False, capture_output=True).returncode == 0:
        settings = folder / "settings"
        settings.write_text("power_mw 200000\n")
        os.environ |= {"LD_LIBRARY_PATH": str(folder), "TOKPROF_NVML_STUB": str(settings)}


def measure(options):
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    dtype = "bfloat16" if device != "cpu" else "float32"
    loaded = load(ModelSpec(name=options.model, weights=options.weights, dtype=dtype, device=device))
    length = options.prompt_tokens + options.new_tokens
    if loaded.tokenizer is None:
        ids = np.random.default_rng(0).integers(loaded.vocabulary_count, size=length).tolist()
    else:
        ids = loaded.tokenizer.encode(Path(__file__).read_text() * 8)
    prompt = ids[: options.prompt_tokens]
    continuation = ids[options.prompt_tokens : length]
    engine = TransformersEngine(loaded.model, prompt, continuation)
    clock = CudaClock(device) if device != "cpu" else HostClock()
    work = Workload(mode=DecodeMode.TEACHER_FORCED, new_token_count=options.new_tokens)
    prompt_tensor = torch.tensor([prompt], device=device)
    forced = torch.tensor([continuation], device=device)

    def bare():
        return bare_loop(loaded.model, prompt_tensor, forced, work.step_count)

    def tokprof():
        started = time.perf_counter_ns()
        repeat(engine, clock, work)
        return time.perf_counter_ns() - started

    def profiled():
        with torch.profiler.profile():
            return tokprof()

    with tempfile.TemporaryDirectory() as name:
        if device == "cpu":
            meet_the_stub(Path(name))
        sampler = SamplerProcess(os.getpid(), Path(name) / "samples.bin", device_index=0).start()
        pid = sampler.pid
        bare(), tokprof()
        ratios = abba(
            bare,
            tokprof,
            options.quadruples,
            on_a=lambda: os.kill(pid, signal.SIGSTOP),
            on_b=lambda: os.kill(pid, signal.SIGCONT),
        )
        os.kill(pid, signal.SIGCONT)
        log = sampler.stop()
        with SamplerProcess(os.getpid(), Path(name) / "alone.bin", device_index=0) as alone:
            time.sleep(options.sampler_seconds)
            share = alone.stop().own_cpu_share
        nothing = abba(bare, bare, options.quadruples)
        factor = abba(bare, profiled, max(4, options.quadruples // 10))
        spied = _spied(bare, Path(name), options.quadruples)
    return device, {
        "clean pass with the sampler on, time against the bare loop": interval(ratios),
        "bare loop against itself (noise floor of this design)": interval(nothing),
        "kernels pass (torch.profiler), time against the bare loop": interval(factor),
        **spied,
        f"sampler's share of one core over {options.sampler_seconds:g} s": share,
        "power was sampled": log.power is not None,
        "log ratios": {"clean": ratios, "itself": nothing},
    }


def _spied(bare, folder, count):
    """Return the factor of the stacks pass: py-spy looks on at 100 Hz without stopping the process."""
    spy = start_pyspy(os.getpid(), folder / "stacks.json")
    if isinstance(spy, Note):
        return {"stacks pass (py-spy), time against the bare loop": spy.message}
    try:
        pid = spy.pid
        ratios = abba(
            bare,
            bare,
            max(4, count // 4),
            on_a=lambda: os.kill(pid, signal.SIGSTOP),
            on_b=lambda: os.kill(pid, signal.SIGCONT),
        )
    finally:
        spy.kill()
    return {"stacks pass (py-spy), time against the bare loop": interval(ratios)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quadruples", type=int, default=120)
    parser.add_argument("--new-tokens", type=int, default=12)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--weights", choices=("real", "random"), default="real")
    parser.add_argument("--sampler-seconds", type=float, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    device, figures = measure(options)
    machine = environment(device, thread_count=torch.get_num_threads())
    result = {
        "model": options.model,
        "weights": options.weights,
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.new_tokens,
        "machine": {"device": machine.device.name, "cpu": machine.cpu, "cores": machine.cpu_count},
        "load before, and after (this program alone gives its threads)": [load, os.getloadavg()[0]],
        "libraries": dict(machine.libraries),
        **figures,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
