"""A study on disk: one experiment over arms and languages, to which finished blocks are only ever added.

The folder holds ``plan.json`` (arms, items with their text, design and seed: all that is needed to go on or to repeat
it), one ``process-NN.jsonl`` per process, the sampler's raw rows of each session beside it
(``process-NN.S.samples``), and the kernel passes' ``traces/process-NN-ARM.json.gz``. A line of a process is a header
(machine, models, token counts), a finished block with every instant of its samples, or the end. A line is complete or
it does not count: whatever ended a process, at most the block under way is lost, and no finished one is measured again.

History of ``STUDY_VERSION``:

1. the first
2. samples with the device's own clock readings and the pauses they took; traces named by process. A study of version 1
   is read as one without them.
"""

import fcntl
import itertools
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from tokprof.profiler.environment import ABSENT, differences, fingerprint_of
from tokprof.profiler.errors import FileFormatError, InputError, OutputError, misfit, writing
from tokprof.profiler.record import (
    Array,
    Columns,
    DecodeMode,
    Environment,
    Mark,
    ModelFacts,
    Note,
    column,
)
from tokprof.profiler.sensors.marks import marks_for
from tokprof.profiler.sensors.samples import read_samples

STUDY_VERSION = 2
PLAN_FILE = "plan.json"
TRACES = "traces"
FORMAT = "tokprof attribution study"
RESTORE = "restore it from a copy: a study without its plan can neither be analysed nor gone on with"  # of plan.json
MOST_BYTES = 2**30  # of a file that is read: a study of weeks has less
UNFINISHED_NAMED = 3  # processes, in the note that some are not finished
CLOCKS_AGREE = 0.01  # relative
MOST_BLOCKS = 1_000_000  # of a plan: more would fill the memory before anything is measured

# What is read is a stranger's: numbers beyond these are refused with their place in the file.
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Instant = Annotated[int, msgspec.Meta(ge=0, le=2**62)]  # nanoseconds
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class ArmRole(StrEnum):
    """What an arm is for."""

    BASE = "base"
    AGAIN = "base again"  # A/A: the base loaded once more, which takes the same path as every other arm
    TUNED = "tuned"
    ADAPTER = "adapter"  # the base with an adapter kept apart
    CONTROL = "control"  # tuned on general code
    PLACEBO = "placebo"  # a change of the weights of the same norm, without learning
    SWAPPED = "swapped"  # one arm's weights reading another's tokens: what fertility alone does, by measurement


class Exposure(StrEnum):
    """On which side of the difference in differences a language stands."""

    SEEN = "seen"
    UNSEEN = "unseen"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One set of weights under test."""

    name: str
    role: ArmRole
    model: str  # as `tokprof profile` takes it
    weights: str = "real"
    adapter: str | None = None
    merge_adapter: bool = False
    seed: int = 0
    weights_of: Number | None = None  # of a swapped arm: the arms whose weights and whose tokens it takes
    tokens_of: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyItem:
    """One task in one language: what is read, and what is then decoded token by token."""

    language: str
    task: str
    prompt: Text
    content: Text
    share: Share  # the part of the whole task's text that ``content`` is
    prompt_lexeme_count: Number
    content_lexeme_count: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLanguage:
    """A language of a study, and what is known of the base model's having seen it."""

    key: str
    name: str
    exposure: Exposure
    evidence: str  # "documented", "not named", "guaranteed", "unknown", "as the user says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole design of a study, fixed before its first sample."""

    arms: tuple[Arm, ...]  # the first is the base
    languages: tuple[StudyLanguage, ...]
    items: tuple[StudyItem, ...]
    corpus: str
    corpus_digest: str
    lexer: str
    process_count: Count
    block_count: Count  # per language and process
    margin: Annotated[float, msgspec.Meta(gt=0, lt=1)]  # of equivalence, as a relative difference
    seed: int
    apart: bool = False  # one process per arm, for models that do not fit side by side
    natural_token_count: Number = 0  # 0: no natural arm
    trace_step_count: Number = 8  # decode steps of each arm's kernel pass; 0: none
    batch_size: Count = 1
    dtype: str | None = None
    attention: str = "sdpa"
    device: str = "auto"
    thread_count: Count | None = None
    trust_remote_code: bool = False
    explained: tuple[str, ...] = ()  # fingerprint keys in which the arms may differ
    command: tuple[str, ...] = ()
    created: str = ""
    tokprof_version: str = ""

    @property
    def stood_in(self) -> str:
        """Say by whose list languages are called seen and unseen, where the base's own is not known; else nothing."""
        told = sorted({language.evidence for language in self.languages if language.evidence.endswith("not known")})
        return f"seen and unseen are told {'; '.join(told)}" if told else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Samples that belong together: one item, the arms in a random order and back again."""

    index: Number
    item: Number  # into Plan.items
    mode: DecodeMode
    order: Annotated[tuple[Number, ...], msgspec.Meta(min_length=1)]  # into Plan.arms


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One measured process, or with ``Plan.apart`` one arm's part of it, which is a process of its own."""

    process: int
    name: str  # of its file
    arms: tuple[int, ...]
    blocks: tuple[Block, ...]


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """The first line of each session of a process."""

    process: Number
    session: Number
    arms: tuple[Number, ...]
    environment: Environment
    models: tuple[ModelFacts, ...]  # one per arm of ``arms``
    prompt_token_counts: tuple[tuple[Count, ...], ...]  # per arm of ``arms``, per item of the plan
    content_token_counts: tuple[tuple[Count, ...], ...]
    notes: tuple[Note, ...] = ()


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One prefill and the decode steps after it; instants as the measuring loop took them."""

    arm: Number
    host_ns: tuple[Instant, ...]  # the start, the end of prefill, the end of each decode step
    device_ns: tuple[Instant, ...] | None = None
    token_count: Count  # tokens sampled until the end
    pause_host_ns: Instant = 0  # after prefill, while the device read its own clock: neither prefill's nor a step's
    pause_device_ns: Instant = 0
    sm_clocks: tuple[tuple[Count, Count], ...] = ()  # cycles and nanoseconds, before, between and after, as far as read
    ended: bool = False  # by the model's own end of sequence


class FinishedBlock(msgspec.Struct, frozen=True, kw_only=True, tag="block"):
    """A block whose samples are all there."""

    session: Number
    block: Block
    samples: tuple[Sample, ...]


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """The process has measured all that was planned."""

    notes: tuple[Note, ...] = ()


Line = Header | FinishedBlock | End


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudySamples(Columns):
    """One row per sample of a study; codes are indices into the plan's arms and items.

    ``step_start`` and ``step_start + step_count`` delimit a sample's decode steps in :attr:`Study.step_ns`.
    """

    process: Array = column(np.int32)
    session: Array = column(np.int32)
    block: Array = column(np.int32)
    position: Array = column(np.int32)  # in the block's order
    mode: Array = column(np.int8, vocabulary=DecodeMode)
    item: Array = column(np.int32)
    arm: Array = column(np.int32)
    prompt_token_count: Array = column(np.int32)
    token_count: Array = column(np.int32)  # new tokens: N_out
    start_ns: Array = column(np.int64)
    prefill_ns: Array = column(np.int64)
    decode_ns: Array = column(np.int64)
    issue_ns: Array = column(np.int64)  # the host's time to issue the decode steps; on a CPU that of the steps
    step_start: Array = column(np.int64)
    step_count: Array = column(np.int32)
    ended: Array = column(np.int8)
    mark: Array = column(np.uint8)  # bits of Mark
    sm_clock_mhz: Array | None = column(np.float64, optional=True)  # mean of the driver's readings; NaN without one
    counted_clock_mhz: Array | None = column(np.float64, optional=True)  # as the device counted it around the phases
    power_mw: Array | None = column(np.float64, optional=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """A study read back: its plan, its machines and models, and every sample."""

    folder: Path
    plan: Plan
    headers: tuple[Header, ...]
    samples: StudySamples
    step_ns: Array  # of every decode step of every sample, in the order of the samples
    finished_block_count: int
    planned_block_count: int
    notes: tuple[Note, ...] = field(default=())

    def model(self, arm: int) -> ModelFacts:
        """Return the model of an arm, as the first process counted it."""
        for header in self.headers:
            if arm in header.arms:
                return header.models[header.arms.index(arm)]
        raise KeyError(arm)

    def traces(self) -> dict[tuple[int, int], Path]:
        """Return the trace of each arm and process, (arm, process), whose kernel pass has come that far."""
        found = {}
        processes = dict.fromkeys(header.process for header in self.headers)
        for process, (arm, facts) in itertools.product(processes, enumerate(self.plan.arms)):
            file = trace_file(self.folder, process, facts.name)
            earlier = self.folder / TRACES / f"{file_name(facts.name)}.json.gz"  # of version 1: the first process's
            if file.is_file():
                found[arm, process] = file
            elif process == 0 and earlier.is_file():
                found[arm, process] = earlier
        return found


def file_name(arm_name: str) -> str:
    """Return an arm's name as it stands in the names of files, which no name leads out of the folder."""
    return re.sub("[^a-z]+", "-", arm_name)


def trace_file(folder: Path, process: int, arm_name: str) -> Path:
    """Return where the kernel pass of an arm in a process leaves its trace."""
    return folder / TRACES / f"process-{process:02d}-{file_name(arm_name)}.json.gz"


# ------------------------------------------------------------------------------------------------------------ writing


def create_study(folder: Path, plan: Plan) -> None:
    """Make the folder of a new study.

    Raises
    ------
    OutputError
        The folder exists and is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        way_out = "pass --resume to go on with it" if (folder / PLAN_FILE).exists() else "choose another --out"
        raise OutputError(f"{folder} exists already; {way_out}")
    with writing(folder):
        (folder / TRACES).mkdir(parents=True, exist_ok=True)
        facts = {"format": FORMAT, "version": STUDY_VERSION, **msgspec.to_builtins(plan)}
        temporary = folder / f".{PLAN_FILE}.partial"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1))
        temporary.replace(folder / PLAN_FILE)


def discard_unmeasured(folder: Path) -> bool:
    """Remove a new study of which nothing was measured, so that the same command can be given again; say if it was."""
    unmeasured = not any(folder.glob("process-*.jsonl"))
    if unmeasured:
        shutil.rmtree(folder)
    return unmeasured


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process from adding to the same study."""
    with (folder / PLAN_FILE).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{folder}: another tokprof is measuring this study right now; wait for it") from error
        yield


class ProcessLog:
    """The file of one process, to which whole lines are added and synced."""

    def __init__(self, folder: Path, unit: Unit) -> None:
        self.path = folder / f"{unit.name}.jsonl"
        lines, size, _ = _read_lines(self.path)
        self.headers = tuple(line for line in lines if isinstance(line, Header))
        blocks = [line.block for line in lines if isinstance(line, FinishedBlock)]
        self.finished = frozenset(block.index for block in blocks)
        self.ended = any(isinstance(line, End) for line in lines)
        if strange := next((block for block in blocks if not _planned(block, unit)), None):
            raise InputError(
                f"{self.path}: block {strange.index} is not the one that the plan gives here (another version of "
                "tokprof or Python measured it); analyse the study with --from, or begin a new one"
            )
        self._size = size

    def append(self, line: Line) -> None:
        """Add one line; if it cannot be written whole, leave the file as it was.

        Raises
        ------
        OutputError
            The disk is full, or the file cannot be written; every finished block is kept.
        """
        data = msgspec.json.encode(line) + b"\n"
        try:
            with writing(self.path):
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    os.ftruncate(descriptor, self._size)  # what a killed process left of its last line
                    os.lseek(descriptor, self._size, os.SEEK_SET)
                    at = 0
                    while at < len(data):
                        at += os.write(descriptor, data[at:])
                    os.fsync(descriptor)
                    self._size += len(data)
                finally:
                    os.ftruncate(descriptor, self._size)
                    os.close(descriptor)
        except OutputError as error:
            words = str(error).partition(";")[0]
            raise OutputError(f"{words}; every finished block is kept, go on with --resume") from error


def _planned(block: Block, unit: Unit) -> bool:
    return block.index < len(unit.blocks) and unit.blocks[block.index] == block


# ------------------------------------------------------------------------------------------------------------ reading


def load_plan(folder: Path, *, to_go_on: bool = False) -> Plan:
    """Read the plan of a study; ``to_go_on``, so that more can be measured to it.

    Raises
    ------
    InputError
        No such folder, or it holds no study.
    FileFormatError
        ``plan.json`` is damaged or of an unknown version, or of an older one that cannot be gone on with.
    """
    file = folder / PLAN_FILE
    if not folder.is_dir():
        if folder.is_file():
            raise InputError(f"{folder}: a file; name the folder of the study, {folder.parent}")
        raise InputError(f"{folder}: no such study folder; `tokprof attribute --out` makes one")
    if not file.is_file():
        raise InputError(f"{folder}: no study here ({PLAN_FILE} is missing); `tokprof attribute` writes such folders")
    try:
        facts = msgspec.json.decode(_bytes_of(file), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{file}: no JSON object: {error}; {RESTORE}") from error
    if facts.pop("format", None) != FORMAT:
        raise FileFormatError(f"{file}: key 'format' does not say {FORMAT!r}; this is no plan of a study; {RESTORE}")
    version = facts.pop("version", None)
    if version not in range(1, STUDY_VERSION + 1):
        raise FileFormatError(
            f"{file}: version {version!r}, and this tokprof reads 1 to {STUDY_VERSION}; use the one that wrote it"
        )
    if to_go_on and version != STUDY_VERSION:
        raise FileFormatError(
            f"{file}: version {version}, and this tokprof adds to {STUDY_VERSION} only; analyse it with --from, or "
            "begin a new study"
        )
    try:
        plan = msgspec.convert(facts, Plan)
    except msgspec.ValidationError as error:
        raise FileFormatError(f"{file}: {misfit(error, facts)}; {RESTORE}") from error
    if fault := fault_of(plan):
        raise FileFormatError(f"{file}: {fault}; {RESTORE}")
    return plan


def fault_of(plan: Plan) -> str | None:
    """Say what keeps a plan from being one that can be run and reported; ``None`` if nothing does."""
    if not plan.arms or plan.arms[0].role is not ArmRole.BASE or not plan.items:
        return "wants a base arm first, and items"
    if any(
        (arm.weights_of is None) != (arm.tokens_of is None)
        or not all(0 <= other < place for other in (arm.weights_of, arm.tokens_of) if other is not None)
        for place, arm in enumerate(plan.arms)
    ):
        return "key 'arms': a swapped arm wants weights and tokens of arms before it"
    keys = [language.key for language in plan.languages]
    known = set(keys)
    if strange := next((item.language for item in plan.items if item.language not in known), None):
        return f"an item is in {strange!r}, which is none of its languages"
    for key, names in (
        ("arms", [file_name(arm.name) for arm in plan.arms]),
        ("languages", keys),
        ("languages", [language.name for language in plan.languages]),
    ):
        if twice := next((name for name, count in Counter(names).items() if count > 1), None):
            return f"key {key!r}: two are called {twice!r}"
    blocks = plan.process_count * (plan.block_count + 1) * len(keys) * (len(plan.arms) if plan.apart else 1)
    if blocks > MOST_BLOCKS:
        return f"{blocks:,} blocks are more than {MOST_BLOCKS:,}; choose fewer processes, blocks or languages"
    return None


def load_study(folder: Path, units: Sequence[Unit], plan: Plan) -> Study:
    """Read every finished block of a study; ``units`` are those of its plan's schedule.

    Raises
    ------
    InputError
        Nothing was measured yet, or arms or processes differ in an unexplained key of the fingerprint.
    FileFormatError
        A file is damaged: a line in the middle is none of ours, or points outside the plan.
    """
    headers: list[Header] = []
    parts: list[tuple[Header, FinishedBlock]] = []
    notes: list[Note] = []
    unfinished: list[str] = []
    for unit in units:
        file = folder / f"{unit.name}.jsonl"
        lines, _, is_cut = _read_lines(file)
        own: dict[int, Header] = {}
        seen: set[int] = set()
        sessions: set[int] = set()
        for line in lines:
            if isinstance(line, Header):
                if line.session in own:
                    raise _damaged(f"{file}: session {line.session} begins twice")
                own[line.session] = checked_header(line, plan, unit, file)
            elif isinstance(line, FinishedBlock):
                if line.session not in own:
                    raise _damaged(f"{file}: block {line.block.index} has no header of its session {line.session}")
                sessions.add(line.session)
                parts.append((own[line.session], _checked_block(line, plan, own[line.session], seen, file)))
            else:
                notes += line.notes
        headers += own.values()
        if not any(isinstance(line, End) for line in lines):
            cut = ", and its last line is cut off" if is_cut else ""
            unfinished.append(f"{file.name} has {len(seen)} of {len(unit.blocks)} blocks{cut}")
        if len(sessions) > 1:
            notes.append(
                Note(
                    code="resumed",
                    message=f"{unit.name} was measured in {len(sessions)} sessions: its blocks count as one process's, "
                    "but the model was loaded anew in between",
                )
            )
    if not parts:
        raise InputError(f"{folder}: nothing was measured yet; go on with `tokprof attribute --resume --out {folder}`")
    check_fingerprints(plan, headers, folder)
    planned = sum(len(unit.blocks) for unit in units)
    if unfinished:
        more = f"; and {len(unfinished) - UNFINISHED_NAMED} more" if len(unfinished) > UNFINISHED_NAMED else ""
        notes.append(
            Note(
                code="unfinished",
                message=f"{len(parts)} of {planned} blocks are measured; {len(unfinished)} of {len(units)} processes "
                f"are not finished: {'; '.join(unfinished[:UNFINISHED_NAMED])}{more}",
                advice=f"go on with `tokprof attribute --resume --out {folder}`, or copy the folder again if it was "
                "finished where it was measured",
            )
        )
    for header in headers:
        notes += header.notes
    samples, step_ns = _table(parts)
    samples, mark_notes = _with_instruments(folder, units, headers, samples)
    return Study(
        folder=folder,
        plan=plan,
        headers=tuple(headers),
        samples=samples,
        step_ns=step_ns,
        finished_block_count=len(parts),
        planned_block_count=planned,
        notes=tuple(dict.fromkeys((*notes, *mark_notes))),
    )


def check_fingerprints(plan: Plan, headers: Sequence[Header], folder: Path) -> None:
    """Refuse arms, processes or sessions that differ in a key which nothing explains.

    Raises
    ------
    InputError
        Naming the key and both values.
    """
    first: tuple[str, dict[str, str]] | None = None
    by_arm: dict[int, tuple[str, dict[str, str]]] = {}
    for header in headers:
        for arm, model in sorted(zip(header.arms, header.models, strict=True), key=lambda pair: pair[0]):
            facts = fingerprint_of(header.environment, model, mode="study", batch_size=plan.batch_size)
            place = f"process {header.process}, session {header.session}"
            mine = {"weights": model.weights_digest, "tokenizer": model.tokenizer_digest or ABSENT, **facts}
            earlier = by_arm.setdefault(arm, (place, mine))
            for key, a, b in differences(earlier[1], mine):
                raise InputError(
                    f"{folder}: {plan.arms[arm].name}: {key} is {a} in {earlier[0]} and {b} in {place}; "
                    "these are not the same experiment"
                )
            if first is None:
                first = (plan.arms[arm].name, facts)
            if found := differences(first[1], facts, explained=plan.explained):
                key, a, b = found[0]
                others = f", and {len(found) - 1} other keys differ" if len(found) > 1 else ""
                options = " ".join(f"--explained {key}" for key, *_ in found)
                raise InputError(
                    f"{folder}: {key} is {a} for {first[0]} and {b} for {plan.arms[arm].name}{others}, so a difference "
                    f"in speed would not be the weights'; make them agree, or pass {options} if it is part of what you "
                    "study"
                )


def _bytes_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileFormatError(f"{file}: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise FileFormatError(f"{file}: larger than {MOST_BYTES:,} bytes; no study's file is")
    return data


def _damaged(words: str) -> FileFormatError:
    return FileFormatError(f"{words}; the file was changed after it was written, so restore it from a copy")


def _read_lines(file: Path) -> tuple[list[Line], int, bool]:
    """Return the whole lines of a process's file, their size in bytes, and if a last one was cut off and left out."""
    if not file.is_file():
        return [], 0, False
    data = _bytes_of(file)
    size = data.rfind(b"\n") + 1
    decoder = msgspec.json.Decoder(Line)
    lines: list[Line] = []
    for number, text in enumerate(data[:size].split(b"\n")[:-1], start=1):
        try:
            lines.append(decoder.decode(text))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FileFormatError(
                f"{file}: line {number}: {misfit(error, _json(text))}; the file was changed after it was written: "
                "restore it from a copy, or cut it off before this line and go on with --resume, which measures again "
                "what is lost"
            ) from error
    return lines, size, len(data) > size


def _json(text: bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def checked_header(header: Header, plan: Plan, unit: Unit, file: Path) -> Header:
    """Return a header as it is; refuse one that is not of this unit of the plan."""
    tables = (header.models, header.prompt_token_counts, header.content_token_counts)
    rows = (*header.prompt_token_counts, *header.content_token_counts)
    if any(len(table) != len(header.arms) for table in tables) or any(len(row) != len(plan.items) for row in rows):
        raise _damaged(f"{file}: a header whose tables do not fit the plan's {len(plan.items)} items")
    if header.process != unit.process or sorted(header.arms) != sorted(unit.arms):
        raise _damaged(f"{file}: a header of another process or of other arms than the plan has here")
    return header


def _checked_block(line: FinishedBlock, plan: Plan, header: Header, seen: set[int], file: Path) -> FinishedBlock:
    block, where = line.block, f"{file}: block {line.block.index}"
    if block.index in seen:
        raise _damaged(f"{where} is there twice")
    seen.add(block.index)
    if not 0 <= block.item < len(plan.items) or any(arm not in header.arms for arm in block.order):
        raise _damaged(f"{where} points at an item or an arm that is not there")
    if len(line.samples) != len(block.order) or any(
        sample.arm != arm for sample, arm in zip(line.samples, block.order, strict=False)
    ):
        raise _damaged(f"{where}: its samples are not those of its order")
    for sample in line.samples:
        times = sample.host_ns if sample.device_ns is None else sample.device_ns
        ordered = len(times) > 1 and len(sample.host_ns) == len(times) and times[0] < times[1]
        if not ordered or _paused_too_long(sample) or any(b < a for a, b in itertools.pairwise(times)):
            raise _damaged(f"{where}: a sample whose instants do not follow each other")
        if block.mode is DecodeMode.TEACHER_FORCED and (sample.token_count < 2 or times[1] == times[-1]):
            raise _damaged(f"{where}: a sample that decodes nothing, or in no time")
    return line


def _paused_too_long(sample: Sample) -> bool:
    """Say whether a pause takes all of the first step, or more, by the clock that tells it."""
    clocks = [(sample.host_ns, sample.pause_host_ns)]
    if sample.device_ns is not None:
        clocks.append((sample.device_ns, sample.pause_device_ns))
    return any(pause and (len(times) < 3 or times[1] + pause >= times[2]) for times, pause in clocks)


def _pause_ns(sample: Sample) -> int:
    return sample.pause_host_ns if sample.device_ns is None else sample.pause_device_ns


def _table(parts: Sequence[tuple[Header, FinishedBlock]]) -> tuple[StudySamples, Array]:
    modes = {mode: code for code, mode in enumerate(DecodeMode)}
    rows: list[tuple[Any, ...]] = []
    steps: list[Array] = []
    counted_mhz: list[float] = []
    at = 0
    for header, line in parts:
        block = line.block
        for position, sample in enumerate(line.samples):
            host = np.array(sample.host_ns, dtype=np.int64)
            device = host if sample.device_ns is None else np.array(sample.device_ns, dtype=np.int64)
            kept = min(sample.token_count, len(device) - 1)
            own = np.diff(device[1 : kept + 1])
            own[:1] -= _pause_ns(sample)
            steps.append(own)
            rows.append(
                (
                    header.process,
                    line.session,
                    block.index,
                    position,
                    modes[block.mode],
                    block.item,
                    sample.arm,
                    header.prompt_token_counts[header.arms.index(sample.arm)][block.item],
                    kept,
                    int(host[0]),
                    int(device[1] - device[0]),
                    int(own.sum()),
                    int(host[kept] - host[1]) - (sample.pause_host_ns if kept > 1 else 0),
                    at,
                    len(own),
                    int(sample.ended),
                    0,
                )
            )
            at += len(own)
            rates = [1e3 * cycles / ns for cycles, ns in sample.sm_clocks]
            counted_mhz.append(float(np.mean(rates)) if rates else math.nan)
    names = (
        "process", "session", "block", "position", "mode", "item", "arm", "prompt_token_count", "token_count",
        "start_ns", "prefill_ns", "decode_ns", "issue_ns", "step_start", "step_count", "ended", "mark",
    )  # fmt: skip
    columns = np.array(rows, dtype=np.int64).T
    counted = None if np.isnan(counted_mhz).all() else np.array(counted_mhz)
    table = StudySamples(**dict(zip(names, columns, strict=True)), counted_clock_mhz=counted)
    return table, np.concatenate(steps) if steps else np.array([], dtype=np.int64)


def _with_instruments(
    folder: Path, units: Sequence[Unit], headers: Sequence[Header], samples: StudySamples
) -> tuple[StudySamples, list[Note]]:
    """Add the marks, clocks and power that the samplers saw; what none saw is absent."""
    notes: list[Note] = []
    marks = samples.mark.copy()
    clock = np.full(len(samples), np.nan)
    power = np.full(len(samples), np.nan)
    end_ns = samples.start_ns + samples.prefill_ns + samples.decode_ns
    for unit in units:
        for header in (h for h in headers if h.process == unit.process and set(h.arms) == set(unit.arms)):
            rows = np.flatnonzero(
                (samples.process == header.process)
                & (samples.session == header.session)
                & np.isin(samples.arm, header.arms)
            )
            if not len(rows):
                continue
            file = samples_file(folder, unit, header.session)
            try:
                log = read_samples(file)
                seen = marks_for(
                    samples.start_ns[rows],
                    end_ns[rows],
                    log.power,
                    log.host,
                    core_count=log.facts.get("core_count") or header.environment.cpu_count,
                )
            except (FileFormatError, OSError, ValueError, TypeError, AttributeError):  # a stranger's can hold anything
                notes.append(
                    Note(
                        code="samples-absent",
                        message=f"{file.name} is missing or damaged: nothing is known of clocks and contention there",
                    )
                )
                continue
            notes += log.notes
            marks[rows] |= seen
            if log.power is not None:
                _means(clock, rows, samples.start_ns, end_ns, log.power.time_ns, log.power.sm_clock_mhz)
                _means(power, rows, samples.start_ns, end_ns, log.power.time_ns, log.power.power_mw)
    for mark, words, advice in (
        (Mark.THROTTLED, "had clocks held down", "lock the clocks below the limit, or cool the device"),
        (Mark.SHARED_DEVICE, "shared the device with another process", "end the other process"),
        (Mark.CONTAMINATED, "ran on a contended host", "end other work on this machine, or add blocks"),
    ):
        if count := int(((marks & mark) != 0).sum()):
            notes.append(
                Note(
                    code=mark.name.lower() if mark.name else "",
                    message=f"{count} of {len(samples)} samples {words}; they are kept",
                    advice=advice,
                )
            )
    if samples.counted_clock_mhz is not None:
        notes += _beside_the_devices_own(clock, samples.counted_clock_mhz)
    values = {
        name: getattr(samples, name)
        for name in StudySamples.__dataclass_fields__
        if name not in ("mark", "sm_clock_mhz", "power_mw")
    }
    return (
        StudySamples(
            **values,
            mark=marks,
            sm_clock_mhz=None if np.isnan(clock).all() else clock,
            power_mw=None if np.isnan(power).all() else power,
        ),
        notes,
    )


def _beside_the_devices_own(read_mhz: Array, counted_mhz: Array) -> list[Note]:
    """Say how far the clocks that the driver read are from those that the device counted, if by much."""
    both = ~np.isnan(read_mhz) & ~np.isnan(counted_mhz) & (read_mhz > 0)
    if not both.any():
        return []
    excess = float(np.median(counted_mhz[both] / read_mhz[both])) - 1
    if abs(excess) <= CLOCKS_AGREE:
        return []
    return [
        Note(
            code="clocks-differ",
            message=f"the device counted a clock {excess:+.1%} beside the driver's reading, median of {both.sum()} "
            "samples",
            advice="the driver reads a few times a second, the device right before and after each phase; where the "
            "clock swings, neither is the mean of a sample",
        )
    ]


def samples_file(folder: Path, unit: Unit, session: int) -> Path:
    """Return where the sampler of a session writes its rows."""
    return folder / f"{unit.name}.{session}.samples"


def _means(into: Array, rows: Array, start_ns: Array, end_ns: Array, time_ns: Array, values: Array | None) -> None:
    """Put the mean of the values read during each sample into its row."""
    if values is None:
        return
    low = np.searchsorted(time_ns, start_ns[rows], side="left")
    high = np.searchsorted(time_ns, end_ns[rows], side="right")
    sums = np.concatenate([[0.0], np.cumsum(values.astype(np.float64))])
    here = high > low
    into[rows[here]] = (sums[high[here]] - sums[low[here]]) / (high[here] - low[here])
