"""Read traces kept as columns: beside the trace, in ``.tokprof/``, keyed by the hash of its content.

Only large traces are kept; a small one is read as fast as its cache. What cannot be written or read is no loss: the
trace is read anew. A cache of another version, of other content or damaged is not used.
"""

import contextlib
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tokprof.profiler.errors import visible
from tokprof.profiler.record import (
    Columns,
    DeviceEvents,
    EventKind,
    HostEvents,
    Trace,
    TraceCounters,
    TraceCounts,
    TraceThread,
    column_fields,
)
from tokprof.profiler.trace.text import digest_of

CACHE_VERSION = 3  # of the files here and of what the reader makes of a trace
CACHE_FOLDER = ".tokprof"
MINIMUM_BYTES = 4 << 20  # of the file on disk; a smaller one is not kept
_FACTS = "trace.json"
_TABLES: dict[str, type[Columns]] = {
    "host": HostEvents,
    "device": DeviceEvents,
    "instants": HostEvents,
    "counters": TraceCounters,
}

TableT = TypeVar("TableT", bound=Columns)


class _Facts(msgspec.Struct):
    version: int
    digest: str
    base_ns: int
    threads: tuple[TraceThread, ...]
    counts: TraceCounts
    properties: tuple[tuple[str, str], ...]


def load_cached(file: Path) -> Trace | None:
    """Return the trace of ``file`` from its cache, or ``None`` where there is none that fits."""
    import pyarrow as pa

    if not (file.parent / CACHE_FOLDER).is_dir():
        return None
    try:
        digest = digest_of(file)
        folder = _folder(file, digest)
        facts = msgspec.json.decode((folder / _FACTS).read_bytes(), type=_Facts)
        if facts.version != CACHE_VERSION or facts.digest != digest:
            return None
        tables: dict[str, Any] = {name: _read(table, folder / f"{name}.parquet") for name, table in _TABLES.items()}
    except (OSError, msgspec.MsgspecError, pa.ArrowException, ValueError, TypeError, KeyError):
        return None
    known = {name: getattr(facts, name) for name in ("digest", "base_ns", "threads", "counts", "properties")}
    trace = Trace(source=visible(file), **known, **tables)
    return trace if _is_sound(trace) else None


def _is_sound(trace: Trace) -> bool:
    """Say whether every row points at a thread, a kind and a host row that exist."""
    limits = [(trace.device.launch, -1, len(trace.host)), (trace.device.operator, -1, len(trace.host))]
    for table in (trace.host, trace.device, trace.instants):
        limits += [(table.thread, 0, len(trace.threads)), (table.kind, 0, len(EventKind))]
    return all(not len(codes) or (codes.min() >= low and codes.max() < high) for codes, low, high in limits)


def save_cached(trace: Trace, file: Path) -> None:
    """Keep the columns of a large trace beside ``file``, in place of what was kept of it before.

    A trace with notes (damaged, repaired) is not kept, so that they are said again, with the places, each time.
    """
    import pyarrow as pa

    with contextlib.suppress(OSError, pa.ArrowException):
        if file.stat().st_size < MINIMUM_BYTES or trace.notes:
            return
        folder = _folder(file, trace.digest)
        temporary = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
        temporary.mkdir(parents=True)
        try:
            for name in _TABLES:
                _write(getattr(trace, name), temporary / f"{name}.parquet")
            values = {name: getattr(trace, name) for name in ("digest", "base_ns", "threads", "counts", "properties")}
            (temporary / _FACTS).write_bytes(msgspec.json.encode(_Facts(version=CACHE_VERSION, **values)))
            for older in folder.parent.glob(f"{_escaped(file.name)}-*"):
                if older != temporary:
                    shutil.rmtree(older, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _folder(file: Path, digest: str) -> Path:
    return file.parent / CACHE_FOLDER / f"{file.name}-{digest}"


def _escaped(name: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


def _write(table: Columns, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [spec.name for spec in column_fields(type(table))]
    known = {name: values for name in names if (values := getattr(table, name)) is not None}
    content = pa.table({name: pa.array(values) for name, values in known.items()})
    vocabularies = {f.name: getattr(table, f.name) for f in fields(table) if f.name not in names}  # type: ignore[arg-type]
    content = content.replace_schema_metadata({"tokprof": msgspec.json.encode(vocabularies)})
    pq.write_table(content, path, compression="lz4", use_dictionary=False, write_statistics=False)


def _read(table: type[TableT], path: Path) -> TableT:
    import pyarrow.parquet as pq

    content = pq.read_table(path, memory_map=True)
    values: dict[str, Any] = {key: tuple(words) for key, words in _vocabularies(content).items()}
    for spec in column_fields(table):
        if spec.name in content.column_names or not spec.metadata["optional"]:
            values[spec.name] = content.column(spec.name).to_numpy()
    made = table(**values)
    for spec in column_fields(table):
        vocabulary, least = spec.metadata["vocabulary"], -1 if spec.metadata["optional"] else 0
        codes = getattr(made, spec.name)
        if codes is None or not len(codes) or not isinstance(vocabulary, str):
            continue
        if not least <= codes.min() <= codes.max() < len(values[vocabulary]):
            raise ValueError(f"{path}: column {spec.name!r} points outside its names")
    return made


def _vocabularies(content: Any) -> dict[str, list[str]]:
    return msgspec.json.decode(content.schema.metadata[b"tokprof"], type=dict[str, list[str]])
