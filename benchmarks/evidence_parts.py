"""Runs parts one after another, each a process with a limit of its own, and records how each ended.

A part that fails, crashes, hangs or lacks something costs only itself. Its outcome is in outcomes.json before the next
part begins; runs that it has finished are copied while it goes on, so a gathering that is killed has lost little.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GRACE_S = 8.0  # between asking a part to end and ending it
RESERVE_S = 5.0  # of the budget, for copying and recording
LOOK_S = 5.0  # between two looks for finished runs
LEAST_SHARE = 0.6  # of the time that a part is expected to take, for which it is still started
LOG_BYTES = 1 << 16
NOWHERE = "http://127.0.0.1:9"  # refuses at once: nobody waits for a hub or an index that cannot be reached


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
    expected_s: float
    limit_s: float
    needs: tuple[str, ...] = ()  # parts, or runs of one, as "codestral/b1-c512"
    packages: tuple[str, ...] = ()
    output: str | None = None  # file of the results that takes standard output; else the log does
    optional: bool = False  # failing means that something is not to be had here
    environment: tuple[tuple[str, str], ...] = ()
    remark: str = ""


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
        self._kept: set[str] = set()  # runs, by their place below the work folder
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
            kept = self._keep(part.name, ended=True)
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
        missing = [name for name in part.needs if name not in self._fresh and not self._measured(name)]
        if missing:
            return Outcome.ABSENT, f"wants {missing[0]}", None
        if left_s < LEAST_SHARE * part.expected_s:
            return Outcome.SKIPPED, f"{max(0.0, left_s):.0f} s were left, it takes about {part.expected_s:.0f} s", None
        log = self.results / "logs" / f"{part.name}.txt"
        limit_s = min(part.limit_s, left_s)
        code = self._process(part, log, limit_s)
        detail = _last_line(log)
        if code is None:
            whose = "its own limit" if limit_s == part.limit_s else "all that was left"
            return Outcome.TIMED_OUT, f"after {limit_s:.0f} s, {whose}; {detail}", None
        if code == 0:
            return Outcome.DONE, "", code
        if code < 0:
            detail = f"ended by {signal.Signals(-code).name}; {detail}"
        return (Outcome.ABSENT if part.optional else Outcome.FAILED), detail, code

    def _measured(self, name: str) -> bool:
        """Say whether there is a run, or of a study what was finished, whatever became of the part that made it."""
        return any((self.work / name / file).is_file() for file in ("run.json", "plan.json"))

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
                env=os.environ | self._environment | online | dict(part.environment),
                start_new_session=True,
            )
            try:
                code = self._wait(process, part.name, time.monotonic() + max(1.0, limit_s - GRACE_S))
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

    def _wait(self, process: "subprocess.Popen[bytes]", name: str, deadline: float) -> int:
        """Wait for a part's end and keep what it finishes meanwhile; raise ``TimeoutExpired`` at the deadline."""
        while True:
            try:
                return process.wait(min(LOOK_S, max(0.0, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= deadline:
                    raise
                self._keep(name)

    def _keep(self, name: str, *, ended: bool = False) -> str | None:
        """Copy a part's finished runs, and at its end its study, without traces and pages, which are large."""
        place = self.work / name
        found = [file.parent for pattern in ("run.json", "*/run.json") for file in place.glob(pattern)]
        found += [place] if ended and (place / "plan.json").is_file() else []
        for run in found:
            inside = str(run.relative_to(self.work))
            if inside in self._kept:
                continue
            if not any(kept.split("/")[0] == name for kept in self._kept):
                shutil.rmtree(self.results / "runs" / name, ignore_errors=True)  # an earlier call's
            self._kept.add(inside)
            copied = self.results / "runs" / inside
            shutil.copytree(run, copied, ignore=shutil.ignore_patterns("trace*", "*.html"), dirs_exist_ok=True)
        return f"runs/{name}" if found else None

    def _record(self, part: Part, **facts: Any) -> None:
        shown = [word.replace(str(self.work), "WORK").replace(str(self.results), "RESULTS") for word in part.words]
        shown = [word.replace(sys.executable, "python").replace(f"{ROOT}/", "") for word in shown]
        self.outcomes[part.name] = {
            "part": part.name,
            **facts,
            "expected_s": round(part.expected_s),
            "limit_s": round(part.limit_s),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(shown),
        }
        document = {**self._facts, "parts": list(self.outcomes.values())}
        fresh = self.results / ".outcomes.new"
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(self.results / "outcomes.json")  # never seen half-written


def end_session(leader: int) -> None:
    """Kill what is left of a session and wait until it is gone: only then is the device's memory free for the next."""
    deadline = time.monotonic() + GRACE_S
    while (members := _session(leader)) and time.monotonic() < deadline:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _session(leader: int) -> list[int]:
    """Return a session's living processes; measured processes and compilers have process groups of their own in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, _parent, _group, session = entry.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                found.append(int(entry.parent.name))
    return found


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
