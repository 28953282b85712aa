"""The text of a trace file as a moving window: plain or gzip (told by content), block by block, never whole."""

import importlib
import zlib
from collections import Counter
from pathlib import Path
from typing import IO, Any

from tokprof.profiler.errors import InputError

BLOCK_BYTES = 2 << 20
_COMPRESSED_BYTES = 64 << 10  # read at once: what is lost where a gzip stream is damaged
_GZIP = b"\x1f\x8b"


class Text:
    """A window ``buffer[at:stop]`` of the decompressed text; :meth:`more` makes it longer, ``at`` moves on by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.buffer = bytearray()
        self.at = 0
        self.stop = 0
        self.ended = False
        self.broken: str | None = None  # why the bytes ended early
        self.repaired: Counter[str] = Counter()
        self._dropped = 0  # bytes of the text before buffer[0]
        self._hash = new_hash()
        try:
            self._file: IO[bytes] = path.open("rb", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from error
        head = self._file.read(2)
        self._file.seek(0)
        self._gzip = _Gunzip(self) if head == _GZIP else None

    def __enter__(self) -> "Text":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def offset(self) -> int:
        """Where in the text ``at`` stands."""
        return self._dropped + self.at

    def more(self) -> bool:
        """Append a block to the window; return whether there was one."""
        if self.ended:
            return False
        if self.at:
            rest = self.stop - self.at
            self.buffer[:rest] = self.buffer[self.at : self.stop]
            self._dropped += self.at
            self.at, self.stop = 0, rest
        if len(self.buffer) < self.stop + BLOCK_BYTES:
            self.buffer.extend(bytes(self.stop + BLOCK_BYTES - len(self.buffer)))
        with memoryview(self.buffer)[self.stop : self.stop + BLOCK_BYTES] as room:
            count = self._read(room) if self._gzip is None else self._gzip.read_into(room)
        self.stop += count
        self.ended = count == 0
        return count > 0

    def read_raw(self, room: memoryview) -> int:
        """Read bytes as the disk has them; 0 at the end, and where the disk fails."""
        try:
            count: int = self._file.readinto(room)  # type: ignore[attr-defined]
        except OSError as error:
            self.broken = self.broken or f"the disk does not give more ({error.strerror})"
            return 0
        self._hash.update(room[:count])
        return count

    _read = read_raw

    def drain(self) -> None:
        """Read to the end, so that a gzip stream's checksum is seen, and forget it all."""
        self.at = self.stop
        while self.more():
            self.at = self.stop

    def digest(self) -> str:
        """Return the hash of the bytes on disk read so far."""
        value: str = self._hash.hexdigest()
        return value


class _Gunzip:
    """Decompresses the members of a gzip file one after the other."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._inflate = inflater()
        self._raw = bytearray(_COMPRESSED_BYTES)
        self._waiting = b""
        self._done = False

    def read_into(self, room: memoryview) -> int:
        filled = 0
        while filled < len(room) and not self._done:
            part = self._some(len(room) - filled)
            room[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    def _some(self, limit: int) -> bytes:
        text = self._text
        if self._inflate.eof:
            following = self._inflate.unused_data.lstrip(b"\0") or self._next()
            if not following.startswith(_GZIP):
                if following.strip(b"\0"):
                    text.repaired["bytes after the gzip stream left out"] += 1
                self._done = True
                return b""
            self._inflate, self._waiting = inflater(), following
        chunk = self._waiting or self._inflate.unconsumed_tail or self._next()
        self._waiting = b""
        if not chunk:
            self._done = True
            text.broken = text.broken or "the gzip stream breaks off"
            return b""
        try:
            part: bytes = self._inflate.decompress(chunk, limit)
        except ERRORS as error:
            self._done = True
            text.broken = text.broken or f"the gzip stream is damaged ({error})"
            return b""
        return part

    def _next(self) -> bytes:
        with memoryview(self._raw) as room:
            return bytes(self._raw[: self._text.read_raw(room)])


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# isal decompresses three times as fast as zlib; a machine without its wheel reads the same, slower.
_ISAL = _optional("isal.isal_zlib")
ERRORS: tuple[type[Exception], ...] = (zlib.error, *((_ISAL.error,) if _ISAL else ()))


def inflater() -> Any:
    """Return a new decompressor of one gzip member."""
    return (_ISAL or zlib).decompressobj(wbits=31)


def new_hash() -> Any:
    """Return the hash that names a trace's content: 128 bits, not meant to resist forgery."""
    import xxhash

    return xxhash.xxh3_128()


def digest_of(path: Path) -> str:
    """Return the hash of a file's bytes on disk, as :meth:`Text.digest` gives it."""
    content, buffer = new_hash(), bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as stream, memoryview(buffer) as room:
        while count := stream.readinto(room):
            content.update(room[:count])
    value: str = content.hexdigest()
    return value
