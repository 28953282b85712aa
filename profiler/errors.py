"""What can go wrong, in words a user can act on.

Every error that a user can cause is a :class:`TokprofError`. Its message is one line that names the file, the key and
the value, and says the way out; the command line prints it and exits with ``exit_code``.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class TokprofError(Exception):
    """A failure with a one-line message for the user; the command line exits with ``exit_code``."""

    exit_code = 2


class InputError(TokprofError):
    """What the user asked for cannot be: an unknown name, a bad value, a folder that is no model."""


class FileFormatError(TokprofError):
    """A file is damaged, of another kind or of an unknown version; the message names the file and the place."""


class OutputError(TokprofError):
    """A result could not be written: the folder exists, the disk is full, permission is missing."""


class MeasurementError(TokprofError):
    """The measurement itself could not be made: out of memory, the measured process died, no network for a pull."""


class Interrupted(TokprofError):  # noqa: N818 - it is an outcome, not a defect
    """The user pressed Ctrl-C; what was finished has been kept."""

    exit_code = 130


def no_such(path: Path, what: str) -> InputError:
    """Return the error of a path where nothing is: with a name beside it that is near, or where it stops to exist."""
    from difflib import get_close_matches

    folder, missing = path.parent, path
    while not folder.is_dir() and folder != folder.parent:
        folder, missing = folder.parent, folder
    names: list[str] = []
    with suppress(OSError):
        names = [inside.name for inside in folder.iterdir()]
    if near := get_close_matches(missing.name, names, n=1):
        return InputError(f"{path}: no such {what}; did you mean {folder / near[0]}?")
    return InputError(f"{path}: no such {what}; {folder.absolute()} holds no {missing.name!r}, so check the path")


@contextmanager
def writing(path: Path, option: str = "--out") -> Iterator[None]:
    """Turn the operating system's refusals to write ``path``, as ``option`` has it, into a line with the way out."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutputError(f"{path}: the disk is full; free some space or choose another {option}") from error
        if error.errno == errno.EFBIG:
            raise OutputError(f"{path}: the file is larger than this process may write; raise `ulimit -f`") from error
        raise OutputError(f"{path}: {error.strerror or error}; choose another {option}") from error


@contextmanager
def new_file(path: Path, option: str = "--out") -> Iterator[Path]:
    """Give a temporary name beside ``path`` that becomes it when the block ends well, and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with writing(path, option):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
