"""tokprof beside optimum-benchmark and llama-bench: time from command to answer, and how far fresh runs spread.

Every round runs each tool once, in a fresh process, on the same model and lengths, in an order that turns by one each
round, so that drift of the machine falls on all. A run waits until the machine is quiet, and what others took of it
meanwhile stands beside its answer. All weights are those of one 4-bit GGUF file: tokprof and optimum-benchmark compute
with them in float32 in PyTorch, llama-bench with its own kernels, once on the 4-bit file and once on a copy in float32.
So rates are not compared, only how well each repeats itself. A tool that is not given is not run.

    python benchmarks/peers.py --rounds 10 --optimum-python VENV/bin/python --llama-bench PATH --out FILE

optimum-benchmark 0.6 needs transformers before 5. llama-bench is built from the llama.cpp in llama-cpp-python's source
archive: cmake -S vendor/llama.cpp -B build -DLLAMA_CURL=OFF && cmake --build build --target llama-bench
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tokprof.models.loading import pull_weights
from tokprof.models.pull import cached
from tokprof.models.zoo import entry
from tokprof.profiler.environment import environment

MODEL = "SmolLM2-135M-Instruct"

OPTIMUM = """
import json, sys
from optimum_benchmark import (
    Benchmark, BenchmarkConfig, InferenceConfig, InlineConfig, ProcessConfig, PyTorchConfig)
if __name__ == "__main__":
    model, prompt, new = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    launcher = {"process": ProcessConfig(start_method="spawn"), "inline": InlineConfig()}[sys.argv[4]]
    scenario = InferenceConfig(latency=True, memory=False, energy=False, warmup_runs=1, iterations=3, duration=0,
        input_shapes={"batch_size": 1, "sequence_length": prompt},
        generate_kwargs={"max_new_tokens": new, "min_new_tokens": new})
    backend = PyTorchConfig(
        model=model, device="cpu", torch_dtype="float32", task="text-generation", library="transformers")
    config = BenchmarkConfig(name="b", launcher=launcher, scenario=scenario, backend=backend)
    found = Benchmark.launch(config).to_dict()
    print("ANSWER", json.dumps({k: v["throughput"]["value"] for k, v in found.items()
                                if isinstance(v, dict) and v.get("throughput")}))
"""


def timed(words, **options):
    started = time.perf_counter()
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, timeout=1800, **options)
    return time.perf_counter() - started, done


def busy_s():
    """Return the seconds of processor used on this machine so far, by all and by the children of this program."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    idle = int(fields[3]) + int(fields[4])
    own = os.times()
    return (sum(map(int, fields)) - idle) / os.sysconf("SC_CLK_TCK"), own.children_user + own.children_system


def others_share(before, after, seconds):
    """Return the share of the machine that others took."""
    (all_before, own_before), (all_after, own_after) = before, after
    return max(0.0, (all_after - all_before - (own_after - own_before)) / seconds / os.cpu_count())


def wait_until_quiet(share, most_s=600):
    """Wait until others have left the machine alone for three seconds, but not for ever."""
    for _ in range(most_s // 3):
        before = busy_s()
        time.sleep(3)
        if others_share(before, busy_s(), 3) < share:
            return


def tokprof(options, folder, *, everything):
    out = folder / f"run-{time.monotonic_ns()}"
    skip = [] if everything else ["--skip", "kernels", "--skip", "stacks"]
    words = ["profile", MODEL, "--prompt-tokens", options.prompt, "-n", options.new, "-r", 3, "--json", "--out", out]
    seconds, done = timed([sys.executable, "-m", "tokprof.profiler.cli", *words, *skip])
    phases = {p["phase"]: p["tokens_per_s"]["value"] for p in json.loads(done.stdout)["phases"]}
    return {"seconds": seconds, **phases}


def optimum(options, folder, model_folder, launcher):
    script = folder / "ask_optimum_benchmark.py"
    script.write_text(OPTIMUM)
    seconds, done = timed(
        [options.optimum_python, script, model_folder, options.prompt, options.new, launcher], cwd=folder
    )
    answer = re.search(r"ANSWER (.*)", done.stdout)
    if answer is None:
        return {"seconds": seconds, "failed": (done.stderr.strip().splitlines() or ["no words"])[-1][:200]}
    values = json.loads(answer[1])
    return {"seconds": seconds, "prefill": values["prefill"] * options.prompt, "decode": values["decode"]}


def llama_bench(options, gguf):
    words = [options.llama_bench, "-m", gguf, "-p", options.prompt, "-n", options.new, "-r", 3, "-t", 2, "-o", "json"]
    seconds, done = timed(words)
    rows = json.loads(done.stdout)
    rates = {"prefill" if row["n_gen"] == 0 else "decode": row["avg_ts"] for row in rows}
    return {"seconds": seconds, **rates}


def in_float32(source, target):
    """Write a GGUF file whose weights are those of another, dequantised."""
    from gguf import GGUFReader, GGUFWriter
    from gguf.quants import dequantize

    read = GGUFReader(source)
    writer = GGUFWriter(target, read.fields["general.architecture"].contents())
    for field in read.fields.values():
        kind = field.types[-1] if len(field.types) > 1 else None
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=kind)
    writer.add_file_type(0)  # all in float32
    for tensor in read.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype("float32")
        writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def spread(values):
    middle = statistics.median(values)
    return {
        "median": middle,
        "range over median": (max(values) - min(values)) / middle,
        "standard deviation over mean": statistics.stdev(values) / statistics.mean(values) if len(values) > 1 else None,
        "values": values,
    }


def peer_versions(options):
    found = {}
    if options.optimum_python:
        names = ("optimum-benchmark", "torch", "transformers")
        script = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
        _, done = timed([options.optimum_python, "-c", script, *names])
        beside = dict(zip(names, done.stdout.split(), strict=True))
        found = {"optimum-benchmark": f"{beside.pop('optimum-benchmark')} with {beside}"}
    if options.llama_bench:
        _, done = timed([options.llama_bench, "--version"])
        found["llama-bench"] = (done.stdout + done.stderr).splitlines()[0].removeprefix("version: ")
    return found


def reported(options, versions, results):
    machine = environment("cpu")
    return {
        "model": MODEL,
        "prompt_tokens": options.prompt,
        "new_tokens": options.new,
        "rounds": min(map(len, results.values())),
        "machine": {"cpu": machine.cpu, "cores": machine.cpu_count},
        "versions": versions,
        "tools": {
            tool: {
                "seconds from command to answer": spread([r["seconds"] for r in runs]),
                **{
                    f"{phase} tokens/s": spread([r[phase] for r in runs if phase in r])
                    for phase in ("prefill", "decode")
                    if any(phase in r for r in runs)
                },
                "share of the machine that others took during each run": [round(r["others"], 3) for r in runs],
                "failures": [r["failed"] for r in runs if "failed" in r],
            }
            for tool, runs in results.items()
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--optimum-python", type=Path, help="python of an environment with optimum-benchmark 0.6")
    parser.add_argument("--llama-bench", type=Path, help="the llama-bench program")
    parser.add_argument("--quiet", type=float, default=0.1, help="share that others may take before a run")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    model = entry(MODEL)
    model_folder = pull_weights(model)
    gguf = cached(model.weights)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = {
            "tokprof, times only": lambda: tokprof(options, folder, everything=False),
            "tokprof, every pass": lambda: tokprof(options, folder, everything=True),
        }
        if options.optimum_python:
            tools["optimum-benchmark, its default launcher"] = lambda: optimum(options, folder, model_folder, "process")
            tools["optimum-benchmark, inline"] = lambda: optimum(options, folder, model_folder, "inline")
        if options.llama_bench:
            plain = in_float32(gguf, folder / "float32.gguf")
            tools["llama-bench, 4-bit"] = lambda: llama_bench(options, gguf)
            tools["llama-bench, float32"] = lambda: llama_bench(options, plain)
        versions = {"tokprof": version("tokprof"), "torch": version("torch"), **peer_versions(options)}
        for round_ in range(options.rounds):
            names = list(tools)
            for tool in names[round_ % len(names) :] + names[: round_ % len(names)]:
                wait_until_quiet(options.quiet)
                before, started = busy_s(), time.perf_counter()
                found = tools[tool]()
                found["others"] = others_share(before, busy_s(), time.perf_counter() - started)
                results.setdefault(tool, []).append(found)
                print(f"round {round_ + 1}/{options.rounds} {tool}: {found}", flush=True)
            report = json.dumps(reported(options, versions, results), indent=1)
            if options.out is not None:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
