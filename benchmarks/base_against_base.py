"""How often a study in which nothing differs finds an effect: the base against itself, again and again.

Each repeat is a whole `tokprof attribute --base MODEL` with a seed of its own, in fresh processes; none is left out,
whatever it says. The file is written after every repeat, and a repeat that is in it is not run again. What follows `--`
goes to every study; without it, it is the default design.

    python benchmarks/base_against_base.py --repeats 20 --out FILE [-- -P 4 --languages python,go,odin,koka]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokprof.profiler.environment import environment

MODEL = "SmolLM2-135M-Instruct"
MAIN = "import sys; from tokprof.profiler.cli import main; sys.argv[0] = 'tokprof'; main()"


def repeat(model, seed, words):
    """Run one study and return what it says of the base against itself."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", MAIN, "attribute", "--base", model, "--seed", seed, "--out", f"{folder}/study"]
        load, started = os.getloadavg()[0], time.perf_counter()
        done = subprocess.run([*map(str, command), *words, "--json"], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    report = json.loads(done.stdout)
    (found,) = report["comparisons"]
    facts = {"seed": seed, "seconds": round(seconds, 1), "load before": load}
    facts |= {key: report[key] for key in ("process_count", "block_count", "sample_count", "marked_count")}
    facts["margin"] = report["margin_log"]
    claims = [
        {"quantity": claim["quantity"], "scope": claim["scope"], "verdict": claim["verdict"], "p": claim["p"]}
        | {key: claim["estimate"][key] for key in ("value", "low", "high")}
        for claim in found["claims"]
    ]
    return facts | {"claims": claims}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("words", nargs="*", help="options of `tokprof attribute`, after --")
    options = parser.parse_args()
    found = environment("cpu")
    report = {
        "model": options.model,
        "design": options.words or ["the default"],
        "machine": {"cpu": found.cpu, "cores": found.cpu_count, "libraries": dict(found.libraries)},
    }
    known = json.loads(options.out.read_text()) if options.out.is_file() else {}
    if known and any(known[key] != report[key] for key in ("model", "design")):
        raise SystemExit(f"{options.out}: holds repeats of another model or design; choose another --out")
    repeats = known.get("repeats", [])
    for seed in range(len(repeats), options.repeats):
        repeats.append(repeat(options.model, seed, options.words))
        effects = [any(c["verdict"] == "effect" for c in r["claims"]) for r in repeats]
        pooled = [next(c for c in r["claims"] if c["quantity"] == "total") for r in repeats]
        report |= {
            "repeats called an effect, in any claim": sum(effects),
            "repeats whose claim on every language is an effect": sum(c["verdict"] == "effect" for c in pooled),
            "repeats whose claim on every language is equivalent": sum("equivalent" in c["verdict"] for c in pooled),
            "repeats whose interval holds zero": sum(c["low"] <= 0 <= c["high"] for c in pooled),
            "repeats": repeats,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")
        last = pooled[-1]
        print(
            f"{seed + 1}/{options.repeats}: {repeats[-1]['seconds']} s, {last['value']:+.4f} {last['verdict']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
