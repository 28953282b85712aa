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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write ``path`` into one line that says the way out."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OutputError(f"{path}: the disk is full; free some space or choose another --out") from error
        if error.errno == errno.EFBIG:
            raise OutputError(f"{path}: the file is larger than this process may write; raise `ulimit -f`") from error
        raise OutputError(f"{path}: {error.strerror or error}; choose another --out") from error


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` that becomes it when the block ends well, and vanishes when it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with writing(path):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
