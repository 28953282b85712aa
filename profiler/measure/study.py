"""Running a study: fresh processes one after the other, each finished block on disk before the next one counts."""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import msgspec

from tokprof.profiler.errors import Interrupted, MeasurementError, writing
from tokprof.profiler.measure.loop import on_interrupt
from tokprof.profiler.measure.request import Message
from tokprof.profiler.measure.schedule import units
from tokprof.profiler.measure.study_worker import StudyRequest
from tokprof.profiler.measure.supervisor import Session
from tokprof.profiler.record import DecodeMode, Mark, Note
from tokprof.profiler.studies import (
    Block,
    End,
    FinishedBlock,
    Header,
    Plan,
    ProcessLog,
    Unit,
    check_fingerprints,
    checked_header,
    locked,
    samples_file,
    trace_file,
)
from tokprof.profiler.study_samples import Study, load_study

BYTES_PER_TOKEN, PREFILL_FACTOR = 3.0, 6.0  # to guess by: of code; tokens that are read in the time of a decode step


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """How far a study is, for the one who waits for it."""

    finished_block_count: int
    planned_block_count: int
    process: int  # of the plan's, counted from 0
    process_count: int
    arm: str  # of the process, where each arm has one of its own; else empty
    stage: str  # "loading", "warm-up", "blocks", "tracing", ...; "ended" with the process
    detail: str = ""
    left_s: float | None = None  # by what was measured so far; None before the first block
    notes: tuple[Note, ...] = ()  # at the end of a process: by what its samples were disturbed


@dataclass(slots=True, kw_only=True)
class Overhead:
    """What processes do once beside their blocks; times are on the monotonic clock."""

    left: int  # processes that have not done it yet, with the one that is at it
    done: int = 0
    spent_s: float = 0.0  # by those
    since_s: float | None = None  # when the one that is at it began

    def left_s(self, now_s: float) -> float:
        """Return how long it should take the rest, each as long as so far; nothing before one has done it."""
        if not self.done:
            return 0.0
        each_s = self.spent_s / self.done
        return self.left * each_s - (0.0 if self.since_s is None else min(now_s - self.since_s, each_s))

    def begin(self, now_s: float) -> None:
        """Count from now on, where it has not begun already."""
        if self.since_s is None:
            self.since_s = now_s

    def end(self, now_s: float) -> None:
        """Count it as done, where it has begun."""
        if self.since_s is not None:
            self.spent_s += now_s - self.since_s
            self.done += 1
            self.left -= 1
            self.since_s = None


@dataclass(slots=True, kw_only=True)
class Pace:
    """What is left of a study, and how long it should take by what was measured since it was started."""

    work_left: float  # in decode steps of one arm
    loading: Overhead  # of a process, from its start to its first block
    tracing: Overhead  # after its last block
    traced_on_gpu: int = 0  # processes of ``tracing.left`` that trace only there: the device is not yet known
    work_done: float = 0.0
    block_s: float = 0.0  # which that took

    def left_s(self, now_s: float) -> float | None:
        """Return how long the rest should take, as so far: blocks, loading, tracing; None before the first block."""
        if not self.work_done:
            return None
        blocks_s = max(0.0, self.work_left) * self.block_s / self.work_done
        return blocks_s + self.loading.left_s(now_s) + self.tracing.left_s(now_s)

    def enter(self, stage: str, now_s: float) -> None:
        """Note that the process comes to a stage of its own: "starting", "blocks", "tracing", "ended" or another."""
        if stage == "starting":
            self.loading.begin(now_s)
        elif stage in ("blocks", "tracing", "ended"):
            self.loading.end(now_s)
        if stage == "tracing":
            self.tracing.begin(now_s)
        elif stage == "ended":
            self.tracing.end(now_s)

    def on_cpu(self) -> None:
        """Count no traces that are made on a GPU alone."""
        self.tracing.left -= self.traced_on_gpu
        self.traced_on_gpu = 0

    def advance(self, work: float, block_s: float) -> None:
        """Count a block that took so long."""
        self.work_left -= work
        self.work_done += work
        self.block_s += block_s


def steps_guessed(plan: Plan, block: Block) -> float:
    """Guess what one sample of a block costs, in decode steps, before anything is tokenized."""
    item = plan.items[block.item]
    natural = block.mode is DecodeMode.NATURAL
    decoded = plan.natural_token_count if natural else len(item.content) / BYTES_PER_TOKEN
    return decoded + len(item.prompt) / BYTES_PER_TOKEN / PREFILL_FACTOR


def _work(plan: Plan, block: Block) -> float:
    return len(block.order) * steps_guessed(plan, block)


def run_study(folder: Path, plan: Plan, report: Callable[[StudyProgress], None] = lambda _: None) -> Study:
    """Measure what a study's folder still lacks, and read it back.

    Raises
    ------
    Interrupted
        Ctrl-C; every finished block is kept.
    TokprofError
        A model that cannot be had, arms that differ in an unexplained key, a full disk; every finished block is kept.
    """
    schedule = units(plan)
    with locked(folder):
        logs = [ProcessLog(folder, unit) for unit in schedule]
        finished = sum(len(log.finished) for log in logs)
        planned = sum(len(unit.blocks) for unit in schedule)
        headers = [
            checked_header(header, plan, unit, log.path)
            for unit, log in zip(schedule, logs, strict=True)
            for header in log.headers
        ]
        open_units = [(unit, log) for unit, log in zip(schedule, logs, strict=True) if not log.ended]
        left = [block for unit, log in open_units for block in unit.blocks if block.index not in log.finished]
        traced = [unit for unit, log in open_units if _request(folder, plan, unit, log).traced_arms]
        pace = Pace(
            work_left=sum(_work(plan, block) for block in left),
            loading=Overhead(left=len(open_units)),
            tracing=Overhead(left=len(traced)),
            traced_on_gpu=sum(unit.process > 0 for unit in traced),
        )
        for unit, log in open_units:
            with tempfile.TemporaryDirectory(prefix="tokprof-study-") as scratch:
                session = _StudySession(
                    request=_request(folder, plan, unit, log),
                    module="tokprof.profiler.measure.study_worker",
                    scratch=Path(scratch),
                    report=lambda _: None,
                    subject="this study",
                    samples=samples_file(folder, unit, len(log.headers)),
                    folder=folder,
                    log_file=log,
                    headers=headers,
                    progress=report,
                    finished=finished,
                    planned=planned,
                    pace=pace,
                )
                with on_interrupt(session.interrupt):
                    try:
                        pace.enter("starting", time.monotonic())
                        session.start()
                        session.serve()
                    finally:
                        session.end()
                finished = session.finished
                log.append(End(notes=tuple(session.said)))
                if session.interrupts:  # it came after the last block
                    raise session.interruption()
                session.tell("ended", notes=_disturbances(folder, unit, plan))
    return load_study(folder, schedule, plan)


def _disturbances(folder: Path, unit: Unit, plan: Plan) -> tuple[Note, ...]:
    """Say how many samples of a finished process were throttled, on a shared device or on a contended host."""
    codes = {str(mark.name).lower() for mark in Mark}
    return tuple(note for note in load_study(folder, [unit], plan).notes if note.code in codes)


def _request(folder: Path, plan: Plan, unit: Unit, log: ProcessLog) -> StudyRequest:
    """Ask for the blocks and for the arms' traces that are not there yet."""
    untraced = [
        arm
        for arm in unit.arms
        if plan.arms[arm].weights_of is None and not trace_file(folder, unit.process, plan.arms[arm].name).is_file()
    ]
    return StudyRequest(
        plan=plan,
        unit=unit,
        session=len(log.headers),
        blocks=tuple(block for block in unit.blocks if block.index not in log.finished),
        traced_arms=tuple(untraced) if plan.trace_step_count else (),
        traced_item=unit.blocks[0].item,
    )


@dataclass(slots=True, kw_only=True)
class _StudySession(Session):
    """The measured process of one unit; what it sends is kept at once."""

    folder: Path
    log_file: ProcessLog
    headers: list[Header]
    progress: Callable[[StudyProgress], None]
    finished: int
    planned: int
    pace: Pace
    said: list[Note] = field(default_factory=list)  # by the measured process

    def instrument(self, message: Message) -> str:
        """Keep a header, a note or a trace; else what every session does."""
        if message.text == "header":
            header = msgspec.json.decode(message.detail, type=Header)
            check_fingerprints(self.request.plan, [*self.headers, header], self.folder)
            self.headers.append(header)
            self.log_file.append(header)
            if header.environment.device.kind == "cpu":
                self.pace.on_cpu()
            return "yes"
        if message.text == "note":
            self.said.append(msgspec.json.decode(message.detail, type=Note))
            return "yes"
        if message.text == "trace":
            self._keep_trace(self.request.plan.arms[int(message.detail)].name)
            return "yes"
        return Session.instrument(self, message)

    def take(self, message: Message) -> None:
        """Keep a finished block; report the rest."""
        if message.kind == "block":
            line = msgspec.json.decode(message.detail, type=FinishedBlock)
            self.log_file.append(line)
            self.finished += 1
            self.pace.advance(_work(self.request.plan, line.block), (message.count or 0) / 1000)
        self.tell(
            "blocks" if message.kind == "block" else message.text, message.detail if message.kind == "stage" else ""
        )

    def tell(self, stage: str, detail: str = "", notes: tuple[Note, ...] = ()) -> None:
        """Say how far the study is, and count its time."""
        now_s = time.monotonic()
        self.pace.enter(stage, now_s)
        self.progress(
            StudyProgress(
                finished_block_count=self.finished,
                planned_block_count=self.planned,
                process=self.request.unit.process,
                process_count=self.request.plan.process_count,
                arm=self.request.plan.arms[self.request.unit.arms[0]].name if self.request.plan.apart else "",
                stage=stage,
                detail=detail,
                left_s=self.pace.left_s(now_s),
                notes=notes,
            )
        )

    def interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """Take Ctrl-C: nothing is to be saved but what is saved already, so end the process at once."""
        self.interrupts += 1
        if self.worker is None:  # it is being started: there is nothing to end, and nothing would tell `serve`
            raise self.interruption()
        self.worker.kill()

    def serve(self) -> None:
        """Serve the process; say after Ctrl-C what is kept and how to go on."""
        try:
            Session.serve(self)
        except (Interrupted, MeasurementError) as error:
            if not self.interrupts:
                raise
            raise self.interruption() from error

    def interruption(self) -> Interrupted:
        """Say what is kept and how to go on."""
        kept = f"{self.finished} of {self.planned} blocks are kept in {self.folder}"
        return Interrupted(f"interrupted; {kept}, go on with --resume")

    def _keep_trace(self, arm_name: str) -> None:
        import gzip

        place = trace_file(self.folder, self.request.unit.process, arm_name)
        temporary = place.with_name(f".{place.name}.partial")
        with writing(place):
            with (self.scratch / "kineto.json").open("rb") as source, gzip.open(temporary, "wb", 6) as target:
                shutil.copyfileobj(source, target)
            temporary.replace(place)
