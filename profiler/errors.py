"""What can go wrong, in words a user can act on.

Every error that a user can cause is a :class:`TokprofError`. Its message is one line that names the file, the key and
the value, and says the way out; the command line prints it and exits with ``exit_code``.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: object) -> str:
    """Return a foreign text (a path, a name from a trace) as it can be printed: what steers a terminal becomes visible.

    That are control signs, marks that turn the direction of writing, and halves of a pair, such as stand for the bytes
    of a file name that is not UTF-8.
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


class TokprofError(Exception):
    """A failure with a one-line message for the user; the command line exits with ``exit_code``."""

    exit_code = 2

    def __str__(self) -> str:
        return visible(super().__str__())


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


_KINDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list",
    "object": "a set of keys", "null": "nothing",
}  # fmt: skip


def misfit(error: Exception, facts: object, within: str = "") -> str:
    """Say which key of decoded JSON does not fit, its value and what it wants, from what msgspec says of it.

    Parameters
    ----------
    error
        Of decoding or converting ``facts``; its words are kept where they tell no key.
    facts
        The JSON that was read, in which the value is found again; anything where it was none. Of a mapping of any keys
        msgspec does not say which it means: there nothing is found, and the value is not told.
    within
        The key that ``facts`` are the value of.
    """
    if not isinstance(error, msgspec.ValidationError):
        return f"no JSON: {error}"
    words, _, place = str(error).partition(" - at `")
    of_a_key = place.startswith("key` in `$")
    place = place.removeprefix("key` in `").removeprefix("$").rstrip("`")
    found = "[...]" not in place and not of_a_key
    value = facts
    try:
        for part in re.findall(r"[^.\[\]]+", place) if found else ():
            in_order = isinstance(value, list | tuple)
            value = value[int(part) if in_order else part]  # type: ignore[index]  # else caught
    except (KeyError, IndexError, TypeError, ValueError):
        return f"{error}"
    key = f"{within}{place}".removeprefix(".")
    if missing := re.match("Object missing required field `(.*)`", words):
        return f"key {f'{key}.{missing[1]}'.removeprefix('.')!r} is missing"
    if wanted := re.match(r"Expected `([^`]*)`(.*?)(?:, got `[^`]*`)?$", words):
        kinds = " or ".join(_KINDS.get(kind, kind) for kind in wanted[1].split(" | "))
        words = f"wants {kinds}{wanted[2]}"
    elif words.startswith("Invalid"):
        words = "cannot be that"
    else:
        return f"{error}"
    if of_a_key:
        return f"a key{f' of {key!r}' if key else ''} {words}"
    if not found:
        return f"key {key!r} {words}"
    told = repr(value)
    told = f"{told[:40]}..." if len(told) > 43 else told
    return f"key {key!r} is {told}, and {words}" if key else f"is {told}, and {words}"


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


def check_new_file(path: Path, option: str = "--out", *, force: bool) -> None:
    """Refuse, before anything is measured, a file that ``option`` would replace unasked or put into no folder."""
    if path.exists() and not force:
        raise InputError(f"{path} exists already; choose another {option} or pass --force to replace it")
    if path.is_dir():
        raise InputError(f"{path} is a folder; choose another {option}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; choose another {option}")


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
