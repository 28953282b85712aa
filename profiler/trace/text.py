"""The text of a trace file as a moving window: plain or gzip (told by content), block by block, never whole."""

import zlib
from collections import Counter
from pathlib import Path
from typing import IO, Any

from tokprof.profiler.errors import InputError, visible
from tokprof.profiler.trace.native import optional

_COMPRESSED_BYTES = 16 << 10  # read at once: what is lost where a gzip stream is damaged
_PART_BYTES = 96 << 10  # decompressed at once: what is larger the allocator may map anew each time, three times as slow
_TRAILER_BYTES = 8  # checksum and length: held back, so that a wrong one costs no text
_GZIP = b"\x1f\x8b"


class Text:
    """A window ``buffer[at:stop]`` of the decompressed text; :meth:`more` makes it longer, ``at`` moves on by hand."""

    def __init__(self, path: Path, block_bytes: int) -> None:
        self.path = path
        self.name = visible(path)  # for messages
        self.block_bytes = block_bytes
        self.buffer = bytearray()
        self.at = 0
        self.stop = 0
        self.ended = False
        self.broken: str | None = None  # why the bytes ended early
        self.garbled = False  # damage lies somewhere before, and what was read may be wrong
        self.repaired: Counter[str] = Counter()
        self._dropped = 0  # bytes of the text before buffer[0]
        self._hash = new_hash()
        try:
            self._file: IO[bytes] = path.open("rb", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; it must be a file that you may read") from error
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
        """Append a block to the window, or as much again as it holds; return whether there was any."""
        if self.ended:
            return False
        if self.at:
            rest = self.stop - self.at
            self.buffer[:rest] = self.buffer[self.at : self.stop]
            self._dropped += self.at
            self.at, self.stop = 0, rest
        wanted = self.stop + max(self.block_bytes, self.stop)
        if len(self.buffer) < wanted:
            self.buffer.extend(bytes(wanted - len(self.buffer)))
        with memoryview(self.buffer)[self.stop : wanted] as room:
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
        self._held = b""
        self._waiting = b""
        self._done = False

    def read_into(self, room: memoryview) -> int:
        filled = 0
        while filled < len(room) and not self._done:
            part = self._some(min(len(room) - filled, _PART_BYTES))
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
        try:
            part: bytes = self._inflate.decompress(chunk, limit)  # without a chunk: what it still holds
        except ERRORS as error:
            self._done = True
            text.broken = text.broken or f"the gzip stream is damaged ({error})"
            text.garbled = True
            return b""
        if not chunk and not part and not self._inflate.eof:
            self._done = True
            text.broken = text.broken or "the gzip stream breaks off"
        return part

    def _next(self) -> bytes:
        with memoryview(self._raw) as room:
            count = self._text.read_raw(room)
        if not count:
            rest, self._held = self._held, b""
            return rest
        chunk = self._held + self._raw[:count]
        self._held = chunk[-_TRAILER_BYTES:]
        return chunk[:-_TRAILER_BYTES] or self._next()


# isal decompresses three times as fast as zlib; a machine without its wheel reads the same, slower.
_ISAL = optional("isal.isal_zlib")
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
    content, buffer = new_hash(), bytearray(1 << 20)
    with path.open("rb", buffering=0) as stream, memoryview(buffer) as room:
        while count := stream.readinto(room):
            content.update(room[:count])
    value: str = content.hexdigest()
    return value
