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
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tokprof.profiler.environment import ABSENT, differences, fingerprint_of
from tokprof.profiler.errors import FileFormatError, InputError, OutputError, misfit, writing
from tokprof.profiler.record import (
    DecodeMode,
    Environment,
    ModelFacts,
    Note,
)

STUDY_VERSION = 2
PLAN_FILE = "plan.json"
TRACES = "traces"
FORMAT = "tokprof attribution study"
RESTORE = "restore it from a copy: a study without its plan can neither be analysed nor gone on with"  # of plan.json
MOST_BYTES = 2**30  # of a file that is read: a study of weeks has less
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
    pause_host_ns: Instant = 0  # after prefill, until the device had done it: neither prefill's nor a step's
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What the files of a study's processes hold."""

    headers: tuple[Header, ...]
    blocks: tuple[tuple[Header, FinishedBlock], ...]  # each with the header of its session
    unfinished: tuple[str, ...]  # of each process that is not at its end, in words
    notes: tuple[Note, ...]


def read_blocks(folder: Path, units: Sequence[Unit], plan: Plan) -> Finished:
    """Read every finished block of the ``units``; damage, and what points outside the plan, is refused."""
    headers: list[Header] = []
    blocks: list[tuple[Header, FinishedBlock]] = []
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
                blocks.append((own[line.session], _checked_block(line, plan, own[line.session], seen, file)))
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
    notes += (note for header in headers for note in header.notes)
    return Finished(headers=tuple(headers), blocks=tuple(blocks), unfinished=tuple(unfinished), notes=tuple(notes))


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


def samples_file(folder: Path, unit: Unit, session: int) -> Path:
    """Return where the sampler of a session writes its rows."""
    return folder / f"{unit.name}.{session}.samples"
