"""A run on disk: a folder that is complete or absent.

``run.json`` holds the scalars, one Parquet file per table of :class:`~tokprof.profiler.record.Columns` the samples, and
``trace.json.gz`` a Chrome trace. A folder is written under a temporary name beside its place, synced and renamed. A
measurement in several processes is a folder of such folders with a ``study.json``. Reading trusts nothing: unknown
versions, missing files and columns of another shape are refused with the file's name.

History of ``SCHEMA_VERSION``:

1. the first
2. ``sm_clocks``, the device's own readings of its clock; a run of version 1 is read as one without them
3. the call and the shape of each kernel, optional columns of ``kernels``
"""

import ctypes
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
import numpy as np

from tokprof.profiler.errors import FileFormatError, InputError, OutputError, misfit, new_file, no_such, writing
from tokprof.profiler.record import MEMORY_PROBES, Calibration, Columns, Device, Run, column_fields

SCHEMA_VERSION = 3
_SINCE_VERSION = {"sm_clocks": 2}  # keys of a run that older versions lack
CALIBRATION_VERSION = 1  # 1: the first
RUN_FILE = "run.json"
STUDY_FILE = "study.json"
TRACE_FILE = "trace.json.gz"
_FORMATS = {RUN_FILE: "tokprof run", STUDY_FILE: "tokprof study"}

TableT = TypeVar("TableT", bound=Columns)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise an error if ``path`` exists and may not be replaced, or if its parent cannot take it.

    With ``force`` an existing folder is replaced only if it is one of ours, so that a mistyped ``--out`` never deletes
    a home folder.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not force:
        raise OutputError(f"{path} exists already; choose another --out or pass --force to replace it")
    if not path.is_dir() or not any((path / name).exists() for name in (RUN_FILE, STUDY_FILE, "tokprof-tune.json")):
        raise OutputError(f"{path} is no run folder, so --force does not replace it; choose another --out")


@contextmanager
def new_folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises
    ------
    OutputError
        ``path`` exists (without ``force``), the disk is full, or permission is missing.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
    refuse_existing(path, force=force)
    with writing(path):
        temporary = path.parent / f".{path.name}.{os.getpid()}.partial"
        temporary.mkdir()
    try:
        with _named(temporary, path):
            yield temporary
        with writing(path):
            _publish(temporary, path, force=force)
    finally:
        _delete(temporary)


@contextmanager
def _named(temporary: Path, path: Path) -> Iterator[None]:
    """Let errors name the folder that was asked for, not the temporary one."""
    try:
        yield
    except OutputError as error:
        raise OutputError(str(error).replace(str(temporary), str(path))) from error


def save_run(run: Run, folder: Path) -> None:
    """Write ``run.json`` and the Parquet files of a run into an existing folder (see :func:`new_folder`)."""
    scalars: dict[str, Any] = {"format": _FORMATS[RUN_FILE], "schema_version": SCHEMA_VERSION}
    with writing(folder):
        for spec in fields(run):
            value = getattr(run, spec.name)
            if isinstance(value, Columns):
                write_table(value, folder / f"{spec.name}.parquet")
                scalars[spec.name] = f"{spec.name}.parquet"
            else:
                scalars[spec.name] = msgspec.to_builtins(value)
        _write_json(folder / RUN_FILE, scalars)


def save_study(folder: Path, run_folders: list[str]) -> None:
    """Write ``study.json``, which names the run folders below ``folder`` in the order of their processes."""
    with writing(folder):
        _write_json(
            folder / STUDY_FILE,
            {"format": _FORMATS[STUDY_FILE], "schema_version": SCHEMA_VERSION, "runs": run_folders},
        )


def load_run(folder: Path) -> Run:
    """Read one run folder.

    Raises
    ------
    InputError
        There is no such folder, or it holds no run.
    FileFormatError
        A file is missing, damaged or of an unknown version.
    """
    scalars = _read_json(folder, RUN_FILE)
    values: dict[str, Any] = {}
    hints = get_type_hints(Run)
    file = folder / RUN_FILE
    for spec in fields(Run):
        if scalars["schema_version"] < _SINCE_VERSION.get(spec.name, 1):
            continue
        if spec.name not in scalars:
            raise FileFormatError(
                f"{file}: key {spec.name!r} is missing; the file was edited or written by another tool"
            )
        value = scalars[spec.name]
        table = _table_type(hints[spec.name])
        if table is not None:
            values[spec.name] = None if value is None else read_table(table, folder / f"{spec.name}.parquet")
            continue
        try:
            values[spec.name] = msgspec.convert(value, hints[spec.name])
        except msgspec.ValidationError as error:
            raise FileFormatError(f"{file}: {misfit(error, value, spec.name)}") from error
        except ValueError as error:
            raise FileFormatError(f"{file}: key {spec.name!r}: {error}") from error
    try:
        run = Run(**values)
    except (ValueError, TypeError) as error:
        raise FileFormatError(f"{file}: {error}") from error
    if len(bad := np.flatnonzero(run.spans.duration_ns <= 0)):
        raise FileFormatError(
            f"{folder / 'spans.parquet'}: row {bad[0] + 1} is of a step that took no time; the file was changed"
        )
    return run


def load_runs(folder: Path) -> tuple[Run, ...]:
    """Read a run folder, or every run of a study's folder in the order of their processes."""
    return tuple(load_run(one) for one in run_folders(folder))


def run_folders(folder: Path) -> tuple[Path, ...]:
    """Return a run folder itself, or the folders of a study's runs in the order of their processes."""
    if not (folder / STUDY_FILE).exists():
        return (folder,)
    names = _read_json(folder, STUDY_FILE).get("runs")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise FileFormatError(f"{folder / STUDY_FILE}: key 'runs' wants the names of folders beside it, has {names!r}")
    return tuple(folder / name for name in names)


def is_run_folder(path: Path) -> bool:
    """Say whether ``path`` is a folder that :func:`load_runs` reads."""
    return (path / RUN_FILE).is_file() or (path / STUDY_FILE).is_file()


# ------------------------------------------------------------------------------------------------------------ tables


def write_table(table: Columns, path: Path) -> None:
    """Write a table to Parquet: codes become strings, so that any tool reads it; vocabularies are kept besides."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays: dict[str, Any] = {}
    names = {spec.name for spec in column_fields(type(table))}
    for spec in column_fields(type(table)):
        values = getattr(table, spec.name)
        if values is None:
            continue
        words = _vocabulary(table, spec)
        if words is None:
            arrays[spec.name] = pa.array(values)
        else:
            indices = pa.array(values, mask=values < 0)
            arrays[spec.name] = pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))
    others = {f.name: getattr(table, f.name) for f in fields(table) if f.name not in names}  # type: ignore[arg-type]
    content = pa.table(arrays).replace_schema_metadata({"tokprof": msgspec.json.encode(others)})
    with path.open("wb") as stream:
        pq.write_table(content, stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())


def read_table(table: type[TableT], path: Path) -> TableT:
    """Read a table that :func:`write_table` wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hints = get_type_hints(table)
    try:
        content = pq.read_table(path)
        others = msgspec.json.decode((content.schema.metadata or {}).get(b"tokprof", b"{}"), type=dict[str, Any])
        columns = list(column_fields(table))
        # The words of a column that an older version did not write are not there either.
        needless = {
            spec.metadata["vocabulary"]
            for spec in columns
            if spec.metadata["optional"] and spec.name not in content.column_names
        }
        values: dict[str, Any] = {
            spec.name: msgspec.convert(others[spec.name], hints[spec.name])
            for spec in fields(table)  # type: ignore[arg-type]
            if "dtype" not in spec.metadata and (spec.name in others or spec.name not in needless)
        }
        for spec in columns:
            if spec.name not in content.column_names:
                if not spec.metadata["optional"]:
                    raise FileFormatError(f"{path}: column {spec.name!r} is missing")
                continue
            column = content.column(spec.name).combine_chunks()
            vocabulary = spec.metadata["vocabulary"]
            if vocabulary is None:
                values[spec.name] = column.to_numpy(zero_copy_only=False)
            else:
                words = values[vocabulary] if isinstance(vocabulary, str) else tuple(map(str, vocabulary))
                values[spec.name] = _codes(column, words, path, spec)
        return table(**values)
    except FileNotFoundError as error:
        raise FileFormatError(f"{path}: the file is missing from its run folder") from error
    except KeyError as error:
        raise FileFormatError(f"{path}: {error.args[0]!r} is missing from the file's metadata") from error
    except (pa.ArrowException, msgspec.MsgspecError, ValueError, TypeError, OSError) as error:
        raise FileFormatError(f"{path}: {str(error).splitlines()[0]}") from error


def _codes(column: Any, words: tuple[str, ...], path: Path, spec: Any) -> Any:
    if column.null_count and not spec.metadata["nullable"]:
        raise FileFormatError(
            f"{path}: column {spec.name!r} lacks {column.null_count} of its {len(column)} values; the file was changed"
        )
    encoded = column if hasattr(column, "indices") else column.dictionary_encode()
    code_of = {word: code for code, word in enumerate(words)}
    present = encoded.dictionary.to_pylist()
    unknown = [word for word in present if word not in code_of]
    if unknown:
        raise FileFormatError(f"{path}: column {spec.name!r} holds {unknown[0]!r}, which is no word of its vocabulary")
    lookup = np.array([code_of[word] for word in present] + [-1], dtype=np.int64)
    return lookup[encoded.indices.fill_null(len(present)).to_numpy(zero_copy_only=False)]


def _vocabulary(table: Columns, spec: Any) -> list[str] | None:
    vocabulary = spec.metadata["vocabulary"]
    if vocabulary is None:
        return None
    return list(getattr(table, vocabulary)) if isinstance(vocabulary, str) else [str(word) for word in vocabulary]


def _table_type(hint: Any) -> type[Columns] | None:
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, Columns):
            return candidate
    return None


# ------------------------------------------------------------------------------------------------------------- files


def _write_json(path: Path, value: object) -> None:
    with path.open("wb") as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(value), indent=1))
        stream.flush()
        os.fsync(stream.fileno())


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not folder.exists():
        raise no_such(folder, "folder")
    if not path.is_file():
        below = sorted(file.parent.name for file in folder.glob(f"*/{name}"))
        words = (
            f"give one of the runs in it: {', '.join(below)}" if below else "give a folder that `tokprof profile` wrote"
        )
        raise InputError(f"{folder}: no run here ({name} is missing); {words}")
    try:
        content = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(f"{path}: not readable as JSON: {error}") from error
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror}") from error
    if content.get("format") != _FORMATS[name]:
        raise FileFormatError(f"{path}: key 'format' is {content.get('format')!r}, wants {_FORMATS[name]!r}")
    version = content.get("schema_version")
    if version not in range(1, SCHEMA_VERSION + 1):
        raise FileFormatError(
            f"{path}: schema_version is {version!r}, this tokprof reads 1 to {SCHEMA_VERSION}; "
            "use the version of tokprof that wrote it"
        )
    return content


def _publish(temporary: Path, path: Path, *, force: bool) -> None:
    for file in temporary.rglob("*"):
        if file.is_dir() or file.name in (RUN_FILE, STUDY_FILE) or file.suffix == ".parquet":
            continue
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    refuse_existing(path, force=force)
    if not path.exists():
        temporary.rename(path)
    elif not _exchange(temporary, path):
        replaced = path.parent / f".{path.name}.{os.getpid()}.replaced"
        path.rename(replaced)
        temporary.rename(path)
        _delete(replaced)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names, with no instant between; return whether this system and disk can."""
    at_working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other), exchange) == 0)


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_leftovers(path: Path) -> None:
    """Delete what killed processes left of earlier attempts at a folder; put back what one had moved out of the way."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*"):
        owner, _, kind = leftover.name.removeprefix(f".{path.name}.").partition(".")
        if kind not in ("partial", "replaced") or not owner.isdecimal() or Path(f"/proc/{owner}").exists():
            continue
        if kind == "replaced" and not path.exists():
            leftover.rename(path)
        else:
            _delete(leftover)


# ------------------------------------------------------------------------------------------------------- calibrations


def calibration_file(folder: Path, device: Device) -> Path:
    """Return where below the cache ``folder`` the calibration of a device with its driver is kept."""
    parts = (device.name, device.driver or "no driver", f"{device.core_count or 'unknown'} cores")
    name = "-".join("".join(c if c.isalnum() or c == "." else "-" for c in part.strip()) for part in parts)
    return folder / "calibrations" / f"{name}.json"


def save_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration as JSON; ``path`` is replaced as a whole."""
    facts = {"format": "tokprof calibration", "schema_version": CALIBRATION_VERSION}
    facts |= msgspec.to_builtins(calibration)
    with new_file(path) as temporary:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1) + b"\n")


def load_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises
    ------
    InputError
        There is no such file.
    FileFormatError
        It is damaged, no calibration, or of an unknown version.
    """
    try:
        facts = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such calibration; `tokprof calibrate` makes one") from error
    except (msgspec.MsgspecError, OSError) as error:
        raise FileFormatError(f"{path}: not readable ({error}); `tokprof calibrate` makes it anew") from error
    if not isinstance(facts, dict) or facts.get("format") != "tokprof calibration":
        raise FileFormatError(f"{path}: is no calibration; `tokprof calibrate --out` writes one")
    if facts.get("schema_version") != CALIBRATION_VERSION:
        raise FileFormatError(
            f"{path}: key 'schema_version' is {facts.get('schema_version')!r}, this tokprof reads "
            f"{CALIBRATION_VERSION}; `tokprof calibrate` makes it anew"
        )
    try:
        calibration = msgspec.convert(facts, Calibration)
    except (msgspec.ValidationError, ValueError) as error:
        words = misfit(error, facts) if isinstance(error, msgspec.ValidationError) else error
        raise FileFormatError(f"{path}: {words}; `tokprof calibrate` makes it anew") from error
    if not any(probe.name.startswith(MEMORY_PROBES) for probe in calibration.probes):
        raise FileFormatError(f"{path}: key 'probes' has none of the memory; `tokprof calibrate` makes it anew")
    return calibration
