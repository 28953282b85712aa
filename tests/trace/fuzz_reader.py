"""Fuzz what reads traces and uses them: python tests/trace/fuzz_reader.py [--seconds N] [--traces FOLDER] [FILE ...]

``--scanner`` takes a native scanner built in another way, such as with the compiler's sanitizers:

    cc -shared -fPIC -g -O1 -fsanitize=address,undefined $(python3-config --includes) -o /tmp/_scan.so _scan.c
    export LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)"
    export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1
    python tests/trace/fuzz_reader.py --scanner /tmp/_scan.so

With atheris installed the bytes are guided by coverage (``--atheris``, what follows ``--`` goes to libFuzzer); without
it a seeded mutator cuts, joins and spoils pieces of small traces and of real ones. FILEs are read again instead.

Whatever the bytes: only a :class:`TokprofError` of one line is raised, every element of the list is accounted for, both
scanners give the same slices and counts where no element is torn, time stays within bounds, and where the reader
reports nothing the bytes are JSON and its slices those of a plain reading. What was read can be analyzed, compared,
written as tables and merged, whatever it is.
"""

import argparse
import functools
import gzip
import importlib.util
import io
import os
import random
import resource
import sys
import tempfile
import time
import zlib
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import msgspec
import numpy as np
from rich.console import Console
from trace_makers import SCANNERS, accounted, document, expected, parsed, rows_of

from tokprof.models.devices import device
from tokprof.profiler.analysis.compare import compare
from tokprof.profiler.analysis.roofline import kernel_floors
from tokprof.profiler.analysis.timeline import analyze, rank_total
from tokprof.profiler.errors import TokprofError
from tokprof.profiler.report.compare_html import write_compare_page
from tokprof.profiler.report.timeline_text import print_analysis, print_comparison
from tokprof.profiler.store import write_table
from tokprof.profiler.trace import events, links, reader, text
from tokprof.profiler.trace.merge import write_merged_trace
from tokprof.profiler.trace.steps import kernel_events, timeline

sys.set_int_max_str_digits(0)  # JSON knows no limit; the plain reading must not stop where the reader does not
LONGEST_S = 10.0  # for an input of some kilobytes; on a busy machine, too
SMALL = [
    {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "ts": 1, "args": {"name": "python"}},
    {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 2, "ts": 1.5, "dur": 9.25,
     "args": {"External id": 3, "Input Dims": [[4, 8], [8, 2]], "Input Strides": [[8, 1], [2, 1]],
              "Input type": ["float", "c10::Half"]}},
    {"ph": "X", "cat": "cuda_runtime", "name": "launch", "pid": 1, "tid": 2, "ts": 2, "dur": 1,
     "args": {"correlation": 4}},
    {"ph": "s", "cat": "ac2g", "name": "ac2g", "pid": 1, "tid": 2, "ts": 2, "id": 4},
    {"ph": "X", "cat": "kernel", "name": 'k<"\\ü">', "pid": 0, "tid": 7, "ts": 20.123, "dur": 3e1,
     "args": {"correlation": 4, "stream": 7, "device": 0}},
    {"ph": "B", "name": "b", "pid": 1, "tid": 2, "ts": 50},
    {"ph": "E", "name": "b", "pid": 1, "tid": 2, "ts": 51.5},
    {"ph": "C", "name": "power", "pid": 0, "tid": 0, "ts": 3, "args": {"W": 300.5}},
    {"ph": "i", "name": "mark", "pid": 1, "tid": 2, "ts": 4, "s": "t"},
    {"ph": "X", "cat": "user_annotation", "name": "tokprof.decode#rep=0,step=1", "pid": 1, "tid": 2, "ts": 1,
     "dur": 30},
]  # fmt: skip
WORDS = [
    b"NaN", b"null", b"-1", b"1e400", b"1e-400", b"0.0005", b"9223372036854775808", b"9999999999999999", b"true", b'"',
    b"\\", b"\\u", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"\xff", b"\xef\xbb\xbf", b"\0", b'"ph": "B"',
    b'"ph": "E"', b'"ts": ', b'"dur": ', b'"args": {', b'"traceEvents": [', b"}, {", b"[" * 200, b'{"a":' * 200, b"]}",
    b"e3", b".", b"\x1f\x8b", b"\n", b'"cat": "kernel"',
    b'"cat": "\\u006bernel"', b"\xe2\x84\xaa", b"9" * 11, b"9" * 5000, b"_Z99", b"\\u001b]0;",
    b'"deviceProperties": 5, ', b'"id": [1], ', b'"distributedInfo": [], ', b'"stream": -1, ', b'"device": 9, ',
    b'"Input Dims": [[[1], 2]], ', b'"Input type": [], ', b'"Input Strides": [[0]], ',
]  # fmt: skip


def check(content, path, scanners=SCANNERS, scan=None):
    """Read the bytes and assert what must hold of any."""
    if scan is not None:
        alone(scan, content)
    path.write_bytes(content)
    answers = []
    for name in scanners:
        os.environ["TOKPROF_PURE_PYTHON"] = "1" if name == "python" else ""
        started = time.perf_counter()
        try:
            trace = reader.read_trace(path, cache=False)
        except TokprofError as error:
            message = str(error)
            assert "\n" not in message, message
            assert str(path) in message, message
            answers.append(None)
        else:
            accounted(trace.counts)
            rows = rows_of(trace)
            assert all(row[4] >= 0 for row in rows), "a negative duration was kept"
            torn = any(why in ("not JSON", "cut off") for why, _ in trace.counts.rejected)
            answers.append(None if torn else (rows, trace.counts.repaired, trace.counts.rejected))
            agrees_with_plain_reading(content, trace, rows)
            if name == scanners[0] and zlib.crc32(content) % 4 == 0:  # it takes ten times as long as reading
                can_be_worked_on(trace, path.parent)
        assert time.perf_counter() - started < LONGEST_S, "it took too long"
    # Where an element is torn, each scanner goes on at the next event that it makes out; that may differ.
    told = [answer for answer in answers if answer is not None]
    assert all(answer == told[0] for answer in told), "the scanners do not agree"


def can_be_worked_on(trace, folder):
    """Do with a trace what the commands do; whatever it holds, nothing may be raised."""
    line = timeline(trace)
    found = analyze(trace, line)
    msgspec.json.encode((found, rank_total(trace, line, "t.json")))
    kernels = kernel_events(trace)
    write_table(kernels, folder / "kernels.parquet")
    kernel_floors(kernels, device("h100"))
    console = Console(file=io.StringIO(), width=100)
    print_analysis(found, console)
    both = compare(trace, sound_trace(folder))
    write_compare_page(both, folder / "compare.html")
    print_comparison(both, console, by="kernel", top=5)
    write_merged_trace([("A", trace), ("B", sound_trace(folder))], folder / "merged.json.gz")


@functools.cache
def sound_trace(folder):
    path = folder / "sound.json"
    path.write_bytes(document(SMALL))
    return reader.read_trace(path, cache=False)


def alone(scan, content):
    """Feed a scanner bytes that end where their memory ends, whole and cut, so that a sanitizer sees a step beyond."""
    for stop in {len(content), len(content) // 2, len(content) * 9 // 10}:
        scanner = scan.Scanner([b"kernel", b"gpu_memcpy"])
        exact = np.frombuffer(content[:stop], dtype=np.uint8).copy()
        at, state = 0, 2
        while state == 2 and at < stop:  # where it is stuck, go on behind the sign
            at, state, _ = scanner.feed(exact, at, stop)
            at += state == 2
        scanner.take()


def agrees_with_plain_reading(content, trace, rows):
    """Where the bytes are a trace in JSON and the reader said nothing, the slices must be those of the text."""
    if trace.notes:
        return
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        listed, _ = parsed(content)
        plain, _ = expected(listed)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError, RecursionError, OSError, zlib.error):
        raise AssertionError("damage was read without a word") from None
    labels = [event.get(key) for event in listed if isinstance(event, dict) for key in ("pid", "tid")]
    if any(isinstance(label, Decimal) for label in labels):
        return  # how a fraction is printed as a label is no one's concern
    assert rows == plain, "other slices than the text has"


def seeds(folder, rng):
    """Return small traces of every layout, and pieces of real ones."""
    found = [document(SMALL, layout, {"a": 1}, {"b": [2]}) for layout in ("one line", "native", "indent 2", "array")]
    about = {"deviceProperties": [{"id": 0, "name": "GPU"}], "distributedInfo": {"rank": 1}}
    found.append(document(SMALL, "one line", about))
    found += [gzip.compress(found[0], mtime=0), b"", b"[]", b'{"traceEvents": []}']
    for path in sorted(folder.glob("*.json.gz")) if folder else ():
        content = gzip.decompress(path.read_bytes())
        start = content.index(b'"traceEvents"')
        found.append(content[:3000])
        for _ in range(8):
            at = rng.randrange(start, len(content))
            piece = content[at : at + rng.randrange(300, 4000)]
            found.append(b'{"traceEvents": [' + piece[piece.find(b"{") :])
            found.append(b'{"traceEvents": [' + piece[piece.find(b"{") : piece.rfind(b"}") + 1] + b"]}")
    return found


def spoiled(rng, corpus):
    """Return a new input made of the corpus."""
    content = bytearray(rng.choice(corpus))
    packed = content.startswith(b"\x1f\x8b") and rng.random() < 0.5
    if packed:
        content = bytearray(gzip.decompress(bytes(content)))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(content) + 1)
        way = rng.randrange(8)
        if way == 0:
            content = content[:at]
        elif way == 1:
            content[at:at] = rng.choice(WORDS)
        elif way == 2 and content:
            content[min(at, len(content) - 1)] ^= 1 << rng.randrange(8)
        elif way == 3:
            del content[at : at + rng.randrange(1, 40)]
        elif way == 4:
            other = rng.choice(corpus)
            start = rng.randrange(len(other) + 1)
            content[at:at] = other[start : start + rng.randrange(400)]
        elif way == 5:
            content[at : at + rng.randrange(1, 9)] = rng.choice(WORDS)
        elif way == 6:
            stop = at + rng.randrange(200)
            content[at:at] = content[at:stop]
        else:
            content[at : at + 1] = bytes([rng.randrange(256)])
    return gzip.compress(bytes(content), mtime=0) if packed else bytes(content[:20_000])


def mutate(options, path):
    rng = random.Random(options.seed)
    corpus = seeds(options.traces, rng)
    started, count, failures = time.monotonic(), 0, 0
    for content in corpus:
        check(content, path, options.scanners, options.scan)
    while time.monotonic() - started < options.seconds:
        content = spoiled(rng, corpus)
        reader.BLOCK_BYTES = rng.choice((1, 7, 64, 1000, 2 << 20))
        try:
            check(content, path, options.scanners, options.scan)
        except Exception as error:
            failures += 1
            kept = options.keep / f"failure-{options.seed}-{count}.bin"
            options.keep.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(content)
            print(f"{kept} (blocks of {reader.BLOCK_BYTES}): {type(error).__name__}: {str(error)[:200]}", flush=True)
            if failures >= options.most:
                break
        count += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{count} inputs in {time.monotonic() - started:.0f} s, {failures} failures, peak memory {peak} MiB")
    return failures


def guided(options, path):
    """Let libFuzzer look for new paths through the reader's Python (and through its C, where that is instrumented)."""
    import atheris

    for module in (reader, text, events):
        for name, value in list(vars(module).items()):
            if callable(value) and getattr(value, "__module__", "") == module.__name__ and hasattr(value, "__code__"):
                setattr(module, name, atheris.instrument_func(value))
    corpus = path.parent / "corpus"
    corpus.mkdir()
    for number, content in enumerate(seeds(options.traces, random.Random(options.seed))):
        (corpus / f"{number}").write_bytes(content[:4000])
    words = [sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=4000", "-rss_limit_mb=2000", str(corpus)]
    atheris.Setup([*words, *options.libfuzzer], lambda content: check(content, path, options.scanners, options.scan))
    atheris.Fuzz()


def other_scanner(path):
    """Let the reader use the scanner of a library."""
    name = "tokprof.profiler.trace._scan"
    spec = importlib.util.spec_from_file_location(name, path)
    scan = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scan)
    sys.modules[name] = sys.modules["tokprof.profiler.trace"]._scan = links._scan = scan
    return scan


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="inputs to read again")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--traces", type=Path, help="a folder of .json.gz traces to cut seeds from")
    parser.add_argument("--python", action="store_true", help="the scanner in Python alone")
    parser.add_argument("--scanner", type=Path, help="a shared library of _scan.c to use instead of the installed one")
    parser.add_argument("--atheris", action="store_true", help="guided by coverage")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "tokprof-fuzz")
    parser.add_argument("--most", type=int, default=20, help="stop after so many failures")
    options, options.libfuzzer = parser.parse_known_args()
    options.scan = other_scanner(options.scanner) if options.scanner else None
    options.scanners = ("python",) if options.python else SCANNERS
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "t.json"
        if options.atheris:
            guided(options, path)
        elif options.files:
            for file in options.files:
                check(file.read_bytes(), path, options.scanners, options.scan)
        else:
            sys.exit(bool(mutate(options, path)))


if __name__ == "__main__":
    main()
