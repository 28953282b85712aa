"""What analysing a study costs: `tokprof attribute --from` on 10,000 recorded samples, the whole command.

python benchmarks/study_speed.py [--samples 10000] [--rounds 3] [--out FILE]
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tokprof.profiler.measure.schedule import units
from tokprof.profiler.record import DecodeMode
from tokprof.profiler.studies import (
    Arm,
    ArmRole,
    End,
    Exposure,
    FinishedBlock,
    Header,
    ProcessLog,
    Sample,
    StudyItem,
    StudyLanguage,
    create_study,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from study_makers import MACHINE, MODEL, made_up

STEPS = 40
ROLES = (ArmRole.BASE, ArmRole.AGAIN, ArmRole.TUNED, ArmRole.PLACEBO, ArmRole.ADAPTER)


def write_study(folder: Path, sample_count: int) -> int:
    """Write a study of at least so many made-up samples; return how many."""
    languages = tuple(
        StudyLanguage(
            key=f"l{i}", name=f"L{i}", exposure=(Exposure.SEEN, Exposure.UNSEEN)[i % 2], evidence="documented"
        )
        for i in range(16)
    )
    per_block = 2 * len(ROLES)
    processes = -(-sample_count // (per_block * len(languages) * 2))
    plan = made_up(
        arms=tuple(Arm(name=str(role), role=role, model="m") for role in ROLES),
        languages=languages,
        items=tuple(
            StudyItem(
                language=language.key,
                task=f"t{task}",
                prompt="x" * (200 + 20 * task),
                content="y" * 3 * STEPS,
                share=0.1,
                prompt_lexeme_count=60,
                content_lexeme_count=30,
            )
            for language in languages
            for task in range(12)
        ),
        process_count=processes,
        block_count=2,
    )
    create_study(folder, plan)
    draw = random.Random(0)
    count = 0
    arms = tuple(range(len(ROLES)))
    for unit in units(plan):
        log = ProcessLog(folder, unit)
        log.append(
            Header(
                process=unit.process,
                session=0,
                arms=arms,
                environment=MACHINE,
                models=tuple(MODEL for _ in arms),
                prompt_token_counts=tuple(tuple(len(i.prompt) // 3 for i in plan.items) for _ in arms),
                content_token_counts=tuple(tuple(STEPS for _ in plan.items) for _ in arms),
            )
        )
        clock = 10**12
        for block in unit.blocks:
            if block.mode is not DecodeMode.TEACHER_FORCED:
                continue
            samples = []
            for arm in block.order:
                host = [clock, clock + int(1e6 * len(plan.items[block.item].prompt) * draw.gauss(1, 0.02))]
                for _ in range(STEPS - 1):
                    host.append(host[-1] + int(30e6 * draw.gauss(1, 0.02)))
                samples.append(Sample(arm=arm, host_ns=tuple(host), token_count=STEPS))
                clock = host[-1]
            log.append(FinishedBlock(session=0, block=block, samples=tuple(samples)))
            count += len(samples)
        log.append(End())
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "study"
        count = write_study(folder, options.samples)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        times, peaks = [], []
        for _ in range(options.rounds):
            started = time.perf_counter()
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "tokprof.profiler.cli", "attribute", "--from", str(folder), "--json"],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(Path(name) / "out.json"), os.O_WRONLY | os.O_CREAT, 0o600)],
            )
            _, status, usage = os.wait4(pid, 0)
            times.append(time.perf_counter() - started)
            peaks.append(usage.ru_maxrss / 1024)
            assert status == 0
    result = {
        "samples": count,
        "study bytes": size,
        "attribute --from, whole command with its page, seconds": sorted(times),
        "peak memory, MiB": max(peaks),
        "load average": os.getloadavg()[0],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
