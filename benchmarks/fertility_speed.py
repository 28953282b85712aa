"""Fertility of 50 MB of code beside what the tokenizers library takes by itself; side by side in one run.

The code is the parallel corpus, over and over, each copy with numbers of its own so that no two texts are alike; it is
kept in --folder. Every round, for each tokenizer, encodes the texts with encode_batch_fast alone and measures their
fertility, lexemes and all, from the same texts in memory, in an order that turns from round to round. CPU seconds, of
all threads, stand beside the clock's: they say the same on a machine that has other work.

    python benchmarks/fertility_speed.py --rounds 3 --out FILE
"""

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path

from tokprof.models.corpora import load_corpus
from tokprof.models.lexers import universal_count
from tokprof.models.tokenizers import tokenizer_of
from tokprof.profiler.analysis.fertility import BATCH_CHARACTERS, fertility


def code(folder, byte_count):
    """Return a corpus of so many bytes, made once: files of some 8 kB, each a solution nine times over."""
    path = folder / f"fertility-speed-{byte_count}.jsonl"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        items = load_corpus(None).items
        size, copy, rows = 0, 0, []
        while size < byte_count:
            for item in items:
                text = "".join(
                    f"{item.text}\n{name}_{copy} {copy * 7919 + i}\n"
                    for i, name in enumerate(["case", "part", "x"] * 3)
                )
                rows.append(json.dumps({"text": text, "language": item.language, "task": f"{item.task}-{copy}"}))
                size += len(text.encode())
                if size >= byte_count:
                    break
            copy += 1
        path.write_text("\n".join(rows) + "\n")
    return load_corpus(str(path))


def timed(work):
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - wall, "CPU seconds": time.process_time() - cpu}


def library(backend, texts):
    """Encode in the batches that fertility takes, and let each go: all tokens at once would not fit every memory."""
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            backend.encode_batch_fast(batch, add_special_tokens=False)
            batch, size = [], 0
    backend.encode_batch_fast(batch, add_special_tokens=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/tokprof-benchmarks"))
    parser.add_argument("--tokenizer", action="append", help="default: starcoder and smollm2")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    corpus = code(options.folder, options.megabytes * 1_000_000)
    reading = time.perf_counter() - started
    texts = [item.text for item in corpus.items]
    byte_count = sum(len(text.encode()) for text in texts)
    result = {
        "bytes": byte_count,
        "texts": len(texts),
        "languages": len(corpus.languages),
        "rounds": options.rounds,
        "tokenizers library": version("tokenizers"),
        "reading or making the corpus, seconds": reading,
        "counting lexemes alone, seconds": [timed(lambda: [universal_count(t) for t in texts]) for _ in range(3)],
    }
    for name in options.tokenizer or ("starcoder", "smollm2"):
        tokenizer = tokenizer_of(name)
        library(tokenizer.backend, texts[:50])  # threads and caches are up before any clock runs
        rounds = []
        for number in range(options.rounds):
            works = {
                "library": lambda backend=tokenizer.backend: library(backend, texts),
                "fertility": lambda t=tokenizer: fertility(corpus, [t]),
            }
            order = list(works) if number % 2 == 0 else list(works)[::-1]
            rounds.append({work: timed(works[work]) for work in order})
        result[name] = {
            "fertility's speed over the library's": {
                clock: statistics.median(r["library"][clock] / r["fertility"][clock] for r in rounds)
                for clock in ("seconds", "CPU seconds")
            },
            "MB/s": {
                work: byte_count / 1e6 / statistics.median(r[work]["seconds"] for r in rounds)
                for work in ("library", "fertility")
            },
            "rounds": rounds,
        }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
