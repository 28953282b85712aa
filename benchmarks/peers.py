"""tokprof beside optimum-benchmark and llama-bench: time from command to answer, and how far fresh runs spread.

Every round runs each tool once, in a fresh process, on the same model and lengths, so that drift of the machine falls
on all. The tools compute in different ways (llama-bench runs the 4-bit file with its own kernels), so their rates are
not compared, only how well each repeats itself. Tools that are not there are left out, aloud.

    python benchmarks/peers.py --rounds 10 --optimum-python VENV/bin/python --llama-bench PATH --out FILE
"""

import argparse
import json
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
from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, ProcessConfig, PyTorchConfig
if __name__ == "__main__":
    model, prompt, new = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    scenario = InferenceConfig(latency=True, memory=False, energy=False, warmup_runs=1, iterations=3, duration=0,
        input_shapes={"batch_size": 1, "sequence_length": prompt},
        generate_kwargs={"max_new_tokens": new, "min_new_tokens": new})
    backend = PyTorchConfig(
        model=model, device="cpu", torch_dtype="float32", task="text-generation", library="transformers")
    config = BenchmarkConfig(name="b", launcher=ProcessConfig(start_method="spawn"), scenario=scenario, backend=backend)
    found = Benchmark.launch(config).to_dict()
    print("ANSWER", json.dumps({k: v["throughput"]["value"] for k, v in found.items()
                                if isinstance(v, dict) and v.get("throughput")}))
"""


def timed(words, **options):
    started = time.perf_counter()
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, timeout=1800, **options)
    return time.perf_counter() - started, done


def tokprof(options, folder, *, everything):
    out = folder / f"run-{time.monotonic_ns()}"
    skip = [] if everything else ["--skip", "kernels", "--skip", "stacks"]
    words = ["profile", MODEL, "--prompt-tokens", options.prompt, "-n", options.new, "-r", 3, "--json", "--out", out]
    seconds, done = timed([sys.executable, "-m", "tokprof.profiler.cli", *words, *skip])
    phases = {p["phase"]: p["tokens_per_s"]["value"] for p in json.loads(done.stdout)["phases"]}
    return {"seconds": seconds, **phases}


def optimum(options, folder, model_folder):
    script = folder / "ask_optimum_benchmark.py"
    script.write_text(OPTIMUM)
    seconds, done = timed([options.optimum_python, script, model_folder, options.prompt, options.new])
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


def spread(values):
    middle = statistics.median(values)
    return {
        "median": middle,
        "range over median": (max(values) - min(values)) / middle,
        "standard deviation over mean": statistics.stdev(values) / statistics.mean(values) if len(values) > 1 else None,
        "values": values,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--optimum-python", type=Path, help="python of an environment with optimum-benchmark 0.6")
    parser.add_argument("--llama-bench", type=Path, help="the llama-bench program")
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
            tools["optimum-benchmark"] = lambda: optimum(options, folder, model_folder)
        if options.llama_bench:
            tools["llama-bench"] = lambda: llama_bench(options, gguf)
        for round_ in range(options.rounds):
            for tool, run in tools.items():
                found = run()
                results.setdefault(tool, []).append(found)
                print(f"round {round_ + 1}/{options.rounds} {tool}: {found}", flush=True)
    machine = environment("cpu")
    report = {
        "model": MODEL,
        "prompt_tokens": options.prompt,
        "new_tokens": options.new,
        "rounds": options.rounds,
        "machine": {"cpu": machine.cpu, "cores": machine.cpu_count},
        "versions": {"tokprof": version("tokprof"), "torch": version("torch")},
        "tools": {
            tool: {
                "seconds from command to answer": spread([r["seconds"] for r in runs]),
                **{
                    f"{phase} tokens/s": spread([r[phase] for r in runs if phase in r])
                    for phase in ("prefill", "decode")
                    if any(phase in r for r in runs)
                },
                "failures": [r["failed"] for r in runs if "failed" in r],
            }
            for tool, runs in results.items()
        },
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
