"""``tokprof analyze`` and ``tokprof compare`` as a user meets them: what they print, write, refuse."""

import contextlib
import gzip
import io
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tokprof.profiler.cli import main
from tokprof.profiler.record import KernelEvents
from tokprof.profiler.report.timeline_text import shortened
from tokprof.profiler.store import read_table

LAYER = ("void rms_norm_kernel(x)", "sm90_xmma_gemm_tn", "flash_fwd_splitkv_kernel", "my_secret_kernel")


def tokprof(*arguments, folder, columns=100):
    """Run the command line in this process, as :func:`tokprof.profiler.cli.main` does for a user."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if columns is None:
            patch.delenv("COLUMNS", raising=False)
        else:
            patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "argv", ["tokprof", *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())


def write_trace(path, *, steps=5, slower=1.0, names=LAYER):
    """Decode steps of four layers on a GPU, named as by vLLM, with host calls and operators."""
    events, now, correlation = [], 1000.0, 0
    for _ in range(steps):
        host = now - 10
        label = {"ph": "X", "cat": "user_annotation", "name": "execute_4_context_0(0)_generation_4(4)"}
        events.append(label | {"pid": 1, "tid": 1, "ts": round(host - 1, 3), "dur": 50})
        for name in [*names * 4, "argmax_kernel"]:
            correlation += 1
            args = {"correlation": correlation}
            call = {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "args": args}
            events.append(call | {"ts": round(host, 3), "dur": 0.5})
            operator = {"ph": "X", "cat": "cpu_op", "name": f"aten::{name[:4]}", "pid": 1, "tid": 1}
            events.append(operator | {"ts": round(host - 0.2, 3), "dur": 0.9})
            host += 1.0
            duration = 20.0 * (slower if "flash" in name else 1)
            kernel = {"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": 7}
            args = {"device": 0, "stream": 7, "correlation": correlation}
            events.append(kernel | {"ts": round(now, 3), "dur": duration, "args": args})
            now += duration + 1
    path.write_text(json.dumps({"traceEvents": events}))
    return path


def test_help_is_wrapped_by_the_terminal(tmp_path):
    words = tokprof("open", "--help", folder=tmp_path, columns=160).stdout
    assert (
        "Several stand one below the other as processes of one trace, and every phase starts at the same instant"
        in words
    )
    words = tokprof("calibrate", "--help", folder=tmp_path, columns=60).stdout
    paragraph = words[words.index("Memory bandwidth") :].partition("╭")[0].strip().splitlines()
    assert all(len(line.strip()) > 44 for line in paragraph[:-1])  # none ends where the source's line does


def test_analyze_prints_phases_layers_gaps_and_streams_within_the_terminal(tmp_path):
    write_trace(tmp_path / "t.json")
    done = tokprof("analyze", "t.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert "decode: 0.357 ms" in text
    assert "5 of 5 steps share this sequence of 17 kernels, 4 layers of 4" in text
    assert "vLLM's annotations" in text
    assert "4 ×  sm90_xmma_gemm_tn" in text
    assert "idle, work queued" in text
    assert "launch queue median" in text
    assert "overlap with others" in text
    assert max(map(len, text.splitlines())) <= 100


def test_top_bounds_the_lines_and_says_how_many_are_left_out(tmp_path):
    write_trace(tmp_path / "t.json")
    text = tokprof("analyze", "t.json", "--top", 2, folder=tmp_path).stdout
    assert "3 lighter left out" in text
    assert text.count(" ×  ") == 2


def test_json_holds_the_same_as_data(tmp_path):
    write_trace(tmp_path / "t.json")
    done = tokprof("analyze", "t.json", "--json", folder=tmp_path)
    content = json.loads(done.stdout)
    (step,) = content["steps"]
    assert step["phase"] == "decode"
    assert step["layer_count"] == 4
    assert [line["repeat_count"] for line in step["lines"]] == [4, 4, 4, 4, 1]
    assert sum(line["total_ms"] for line in step["lines"]) == pytest.approx(0.34)
    assert step["gaps"][0]["cause"] == "idle, work queued"
    assert content["counts"]["linked"] == 85


def test_parquet_holds_every_event_of_the_device(tmp_path):
    write_trace(tmp_path / "t.json")
    done = tokprof("analyze", "t.json", "--parquet", "out", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith("\nthe device's events: out/kernels.parquet\n")
    table = read_table(KernelEvents, tmp_path / "out" / "kernels.parquet")
    assert len(table) == 85
    assert int(table.duration_ns.sum()) == 85 * 20_000


def test_parquet_is_replaced_only_when_asked(tmp_path):
    write_trace(tmp_path / "t.json")
    place = tmp_path / "out" / "kernels.parquet"
    place.parent.mkdir()
    place.write_text("mine")
    done = tokprof("analyze", "t.json", "--parquet", "out", folder=tmp_path)
    assert done.returncode == 2
    assert "out/kernels.parquet exists already; choose another --parquet or pass --force" in done.stderr
    assert place.read_text() == "mine"
    assert tokprof("analyze", "t.json", "--parquet", "out", "--force", folder=tmp_path).returncode == 0
    assert [path.name for path in place.parent.iterdir()] == ["kernels.parquet"]
    assert len(read_table(KernelEvents, place)) == 85


def test_own_categories_come_before_the_table(tmp_path):
    write_trace(tmp_path / "t.json")
    (tmp_path / "own.toml").write_text("[[rule]]\ncategory = 'norm'\npatterns = ['secret']\n")
    plain, own = (
        json.loads(tokprof("analyze", "t.json", "--json", *more, folder=tmp_path).stdout)
        for more in ((), ("--categories", "own.toml"))
    )
    assert dict(plain["categories"])["other"] == pytest.approx(0.4)
    assert "other" not in dict(own["categories"])
    assert dict(own["categories"])["norm"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "own.toml: No such file"),
        ("[[rule]\n", "no TOML"),
        ("rules = 1\n", "wants tables [[rule]] with category and patterns"),
        ("rule = []\nrules = 1\n", "key 'rules'"),
        ("rule = [3]\n", "wants tables [[rule]] with category and patterns"),
        ("[[rule]]\ncategory = 'gem'\npatterns = ['x']\n", "category 'gem': unknown; choose one of gemm, "),
        ("[[rule]]\ncategory = ['gemm']\npatterns = ['x']\n", "category ['gemm']: unknown"),
        ("[[rule]]\ncategory = 'gemm'\npatterns = 'x'\n", "'patterns' wants a list of strings"),
        ("[[rule]]\ncategory = 'gemm'\npatterns = []\n", "'patterns' wants a list of strings"),
        ("[[rule]]\ncategory = 'gemm'\npatterns = ['(']\n", "no regular expression"),
        ("[[rule]]\ncategory = 'gemm'\npatterns = ['x']\npattern = 'y'\n", "key 'pattern'"),
    ],
)
def test_an_error_in_own_categories_is_one_line(tmp_path, content, said):
    write_trace(tmp_path / "t.json")
    if content is not None:
        (tmp_path / "own.toml").write_text(content)
    for command in (("analyze", "t.json"), ("compare", "t.json", "t.json", "--no-page")):
        done = tokprof(*command, "--categories", "own.toml", folder=tmp_path)
        assert done.returncode == 2, done.stdout
        assert said in done.stderr
        assert "own.toml" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["analyze", "compare"])
def test_what_is_no_trace_is_refused_in_one_line(tmp_path, command):
    (tmp_path / "t.json").write_text("hello")
    (tmp_path / "empty").mkdir()
    for place in ("t.json", "absent.json", "empty"):
        done = tokprof(command, *([place] * (2 if command == "compare" else 1)), folder=tmp_path)
        assert done.returncode == 2
        assert place in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "compare.html").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("analyze", "a.jso"), "a.jso: no such file or folder; did you mean a.json?"),
        (("compare", "a.json", "runs/deep/b.json"), "holds no 'runs', so check the path"),
        (("open", "--no-browser", "a.json.gz"), "did you mean a.json?"),
        (("show", "rums/b"), "rums/b: no such folder; "),
        (("show", "."), "no run here (run.json is missing); give a folder that `tokprof profile` wrote"),
    ],
)
def test_a_path_where_nothing_is_names_the_way_out(asked, said, tmp_path):
    write_trace(tmp_path / "a.json")
    done = tokprof(*asked, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        (("compare", "a.json", "a.json", "--html", "none/c.html"), "--html"),
        (("compare", "a.json", "a.json", "--no-page", "--trace", "none/c.json.gz"), "--trace"),
        (("analyze", "a.json", "--parquet", "a.json"), "--parquet"),
    ],
)
def test_what_cannot_be_written_names_the_option_to_change(asked, option, tmp_path):
    write_trace(tmp_path / "a.json")
    done = tokprof(*asked, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith(f"; choose another {option}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_tokenizer_that_no_package_carries_is_said_not_to_be_fetched(tmp_path):
    done = tokprof("models", "pull", "SantaCoder", folder=tmp_path)
    assert done.returncode == 0
    weights, tokenizer = done.stderr.splitlines()
    assert weights.startswith("SantaCoder weights: on the hub as bigcode/gpt_bigcode-santacoder")
    assert tokenizer.startswith("SantaCoder tokenizer: not fetched, for no package carries it")


@pytest.mark.parametrize("command", ["models", "models show tiny-llama"])
def test_tables_of_models_are_whole_at_80_columns(command, tmp_path):
    done = tokprof(*command.split(), folder=tmp_path, columns=80)
    assert done.returncode == 0
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_compare_names_what_got_slower_and_writes_the_page(tmp_path):
    write_trace(tmp_path / "a.json")
    write_trace(tmp_path / "b.json", slower=1.5)
    done = tokprof("compare", "a.json", "b.json", "--by", "kernel", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The decode step of B is 11.2% slower" in done.stdout
    assert "attention +0.040 ms" in " ".join(done.stdout.split())
    line = next(line for line in done.stdout.splitlines() if line.startswith("attention"))
    assert line.split()[2:6] == ["0.080", "0.120", "+0.040", "·"]  # their own time, without the gaps
    assert "effect" in line
    assert "over the steps of one process a side" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert (tmp_path / "compare.html").stat().st_size > 10_000
    assert "tokprof open a.json b.json" in done.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "b.json", "compare.html"]


def test_who_reads_the_head_alone_has_the_page_and_the_trace_all_the_same(tmp_path):
    write_trace(tmp_path / "a.json")
    write_trace(tmp_path / "b.json", slower=1.5)
    reader, writer = os.pipe()
    os.close(reader)
    words = ["compare", "a.json", "b.json", "--trace", "both.json.gz"]
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "tokprof.profiler", *words], cwd=tmp_path, stdout=gone, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert {"compare.html", "both.json.gz"} < {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize("by", ["operator", "kernel", "category", "layer", "frame"])
def test_every_grouping_sums_to_the_difference(tmp_path, by):
    write_trace(tmp_path / "a.json")
    write_trace(tmp_path / "b.json", slower=1.5)
    done = tokprof("compare", "a.json", "b.json", "--no-page", "--json", folder=tmp_path)
    (phase,) = json.loads(done.stdout)["phases"]
    lines = phase["ledgers"][by]
    effects = ("count_effect_ns", "duration_effect_ns", "kernel_set_effect_ns", "gap_effect_ns")
    total = sum(line[effect] for line in lines for effect in effects)
    assert total == pytest.approx(phase["b_wall_ns"] - phase["a_wall_ns"]) == pytest.approx(40_000)
    assert tokprof("compare", "a.json", "b.json", "--no-page", "--by", by, folder=tmp_path).returncode == 0


def test_frames_keep_the_end_that_tells_them_apart(tmp_path):
    for name, slower in (("a.json", 1), ("b.json", 1.5)):
        path = write_trace(tmp_path / name, slower=slower)
        events = json.loads(path.read_text())["traceEvents"]
        for operator in [event for event in events if event.get("cat") == "cpu_op"]:
            line = len(operator["name"]) if operator["name"] != "aten::flas" else 99
            frame = operator | {"cat": "python_function", "name": f"{'long/' * 20}model.py({line}): forward"}
            events.append(frame | {"ts": operator["ts"] - 0.01, "dur": operator["dur"] + 0.02})
        path.write_text(json.dumps({"traceEvents": events}))
    text = tokprof("compare", "a.json", "b.json", "--no-page", "--by", "frame", folder=tmp_path, columns=110).stdout
    row = next(line for line in text.splitlines() if "model.py(99): forward" in line)
    assert row.startswith("…")
    assert "+0.040" in row  # four kernels of 20 us, each half as long again


def test_a_folder_of_ranks_says_which_is_shown(tmp_path):
    for rank in (0, 1, 10):
        write_trace(tmp_path / f"rank{rank}.json", slower=1 + rank)
    text = tokprof("analyze", ".", folder=tmp_path).stdout
    assert "3 traces; this is rank0.json" in " ".join(text.split())
    ranks = json.loads(tokprof("analyze", ".", "--json", folder=tmp_path).stdout)["ranks"]
    assert [rank["file"] for rank in ranks] == ["rank0.json", "rank1.json", "rank10.json"]
    assert [rank["step_ms"] for rank in ranks] == sorted(rank["step_ms"] for rank in ranks)
    assert ranks[2]["step_ms"] - ranks[0]["step_ms"] == pytest.approx(4 * 10 * 20e-3)


def test_a_folder_of_ranks_hides_nothing(tmp_path):
    def with_rank(path, rank):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({"distributedInfo": {"rank": rank, "world_size": 4}, **content}))

    with_rank(write_trace(tmp_path / "rank0.json"), 3)
    with_rank(write_trace(tmp_path / "rank1.json", names=("other_a", "other_b")), 0)
    (tmp_path / "rank2.json").write_text("junk")
    (tmp_path / "rank3.json").write_text('{"traceEvents": [{"ph": "X", "na')
    done = tokprof("analyze", ".", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert [(rank["rank"], rank["file"]) for rank in content["ranks"]] == [(0, "rank1.json"), (3, "rank0.json")]
    notes = " ".join(note["message"] for note in content["notes"])
    assert "no traces: rank2.json" in notes
    assert "left out: rank3.json" in notes
    assert "rank1.json and rank0.json share 14% of their kernel names" in notes
    assert "rank0.json says inside that it is rank 3" in notes
    text = tokprof("analyze", ".", folder=tmp_path).stdout
    assert text.index("collectives") < text.index("steps share this sequence")


@pytest.mark.parametrize("events", [[], [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "x"}}]])
def test_a_trace_of_nothing_is_refused(tmp_path, events):
    (tmp_path / "t.json").write_text(json.dumps({"traceEvents": events}))
    done = tokprof("analyze", "t.json", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"tokprof: t.json: holds nothing that took time ({len(events)} events), so nothing to say\n"


def test_comparing_what_has_nothing_in_common_is_an_error(tmp_path):
    write_trace(tmp_path / "a.json")
    (tmp_path / "empty.json").write_text('{"traceEvents": []}')
    done = tokprof("compare", "a.json", "empty.json", folder=tmp_path)
    assert done.returncode == 2
    assert "nothing is compared: B's trace holds neither device work nor operators" in done.stderr
    both = json.loads((tmp_path / "a.json").read_text())["traceEvents"]
    first = next(event for event in both if "execute" in event["name"])
    first["name"] = "execute_4_context_4(4)_generation_0(0)"
    (tmp_path / "both.json").write_text(json.dumps({"traceEvents": both}))
    bare = [event for event in both if event["cat"] != "user_annotation"][: 3 * 17]
    (tmp_path / "bare.json").write_text(json.dumps({"traceEvents": bare}))
    done = tokprof("compare", "both.json", "bare.json", folder=tmp_path)
    assert done.returncode == 2
    apart = "A has prefill, decode, B has the whole time line as one step, and no phase is in both"
    assert done.stderr == f"tokprof: nothing is compared: {apart}\n"
    assert not (tmp_path / "compare.html").exists()


def test_a_page_that_is_there_is_not_replaced_unasked(tmp_path):
    write_trace(tmp_path / "a.json")
    place = tmp_path / "compare.html"
    place.write_text("mine")
    done = tokprof("compare", "a.json", "a.json", folder=tmp_path)
    assert done.returncode == 0
    assert "no page: compare.html is there already; --force replaces it" in done.stdout
    assert place.read_text() == "mine"
    assert tokprof("compare", "a.json", "a.json", "--force", folder=tmp_path).returncode == 0
    assert "<!doctype html>" in place.read_text()


@pytest.mark.parametrize("columns", [80, 100, None])
@pytest.mark.parametrize("by", ["category", "kernel"])
def test_tables_cut_no_number(real_traces, tmp_path, columns, by):
    h100, mi300 = (real_traces / f"{name}_qwen1.5-0.5b_prefill.json.gz" for name in ("h100", "mi300x"))
    analysis = tokprof("analyze", h100, folder=tmp_path, columns=columns).stdout
    ledger = tokprof("compare", h100, mi300, "--no-page", "--by", by, folder=tmp_path, columns=columns).stdout
    width = columns or 140
    for text in (analysis, ledger):
        assert max(len(line) for line in text.splitlines() if "json.gz" not in line) <= width
    rows = [line for line in analysis.splitlines() if re.match(r"\s*24 ×", line)]
    assert len(rows) == 15
    assert all(re.search(r"\d\.\d\d +\d\.\d{3} +\d\.\d{3}$", line.rstrip()) for line in rows)
    assert re.search(r"sum +31\.905 +29\.744 +-1\.761", ledger)


def test_alike_names_are_cut_where_they_differ():
    begin = "void at::native::elementwise_kernel<128, 4, " + "x" * 60
    names = [f"{begin}Add>(int)", f"{begin}Multiply>(int)", "short"]
    cut = shortened(names, 30)
    assert [len(name) <= 30 for name in cut] == [True] * 3
    assert len(set(cut)) == 3
    assert "Add" in cut[0]
    assert "Multiply" in cut[1]
    assert shortened(["/a/very/long/path/model.py(3): f"], 20, from_end=True) == ["…path/model.py(3): f"]


def test_compare_writes_both_as_one_trace_where_asked(tmp_path):
    write_trace(tmp_path / "a.json")
    write_trace(tmp_path / "b.json", slower=2)
    asked = ("compare", "a.json", "b.json", "--no-page", "--trace", "both.json.gz")
    assert tokprof(*asked, folder=tmp_path).returncode == 0
    events = json.loads(gzip.decompress((tmp_path / "both.json.gz").read_bytes()))["traceEvents"]
    assert sum(event.get("cat") == "kernel" for event in events) == 2 * 5 * 17
    again = tokprof(*asked, folder=tmp_path)
    assert again.returncode == 2
    assert "both.json.gz exists already; choose another --trace or pass --force" in again.stderr
    assert not list(tmp_path.glob(".*partial"))


def test_names_with_markup_are_printed_as_they_are(tmp_path):
    write_trace(tmp_path / "t.json", names=("[bold]a[/bold]", "gemm[/]", "<script>x</script>", "b"))
    done = tokprof("analyze", "t.json", folder=tmp_path)
    assert done.returncode == 0
    assert "[bold]a[/bold]" in done.stdout
    assert "<script>x</script>" in done.stdout


@pytest.mark.parametrize(
    "name", ["mi300x_sglang_qwen3-8b_decode", "a100_multi_stream", "a100_training_control", "rtx2080ti_linear"]
)
def test_real_traces_read_well_in_100_columns(real_traces, tmp_path, name):
    source = gzip.decompress((real_traces / f"{name}.json.gz").read_bytes())
    (tmp_path / "t.json").write_bytes(source)
    done = tokprof("analyze", "t.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "idle by cause" in done.stdout


STEERING = "\x1b]0;PW\x07\x9b2J\u202e"


def test_names_from_a_trace_steer_no_terminal(tmp_path):
    folder = tmp_path / "\x1b[31m"
    folder.mkdir()
    write_trace(folder / "a.json", names=(STEERING, *LAYER))
    write_trace(folder / "b.json", names=LAYER)
    for asked in (("analyze", folder / "a.json"), ("compare", folder / "a.json", folder / "b.json", "--by", "kernel")):
        done = tokprof(*asked, folder=tmp_path, columns=200)
        assert done.returncode == 0, done.stderr
        assert (r"\x1b]0;PW\x07\x9b2J\u202e" if asked[0] == "analyze" else r"\x1b]") in done.stdout
        assert done.stdout.replace("\n", "").isprintable()
    for asked in (("analyze", folder / "absent"), ("analyze", folder), (STEERING,)):
        (folder / "a.json").write_text("hello")
        (folder / "b.json").unlink(missing_ok=True)
        done = tokprof(*asked, folder=tmp_path, columns=200)
        assert done.returncode == 2
        assert r"\x1b" in done.stderr
        assert done.stderr.strip().isprintable()


def test_a_file_name_that_is_not_utf_8_is_printed_and_written_with_its_bytes(tmp_path):
    bad = tmp_path / os.fsdecode(b"bad\xff.json")
    write_trace(bad)
    for asked in (("analyze", bad), ("analyze", bad, "--json"), ("compare", bad, bad, "--trace", "both.json.gz"),
                  ("compare", bad, bad, "--json", "--force")):  # fmt: skip
        done = tokprof(*asked, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert r"bad\udcff.json" in done.stdout.replace("\\\\", "\\")
    assert r"bad\\udcff.json" in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    "value", [5, None, "x", {}, [5], [{"id": [1]}], [{"name": "\ud800"}], [{"id": 0, "name": ["a"]}]]
)
def test_odd_device_properties_and_a_trace_of_the_device_alone_are_told(value, tmp_path):
    path = write_trace(tmp_path / "t.json")
    content = json.loads(path.read_text())
    content["traceEvents"] = [event for event in content["traceEvents"] if event.get("cat") == "kernel"]
    path.write_text(json.dumps({"deviceProperties": value, **content}))
    for asked in (("analyze", path, "--parquet", "tables"), ("analyze", path, "--json"), ("compare", path, path)):
        done = tokprof(*asked, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    events = read_table(KernelEvents, tmp_path / "tables" / "kernels.parquet")
    assert len(events) == len(content["traceEvents"])
    assert set(events.operator.tolist()) == {0}


def test_numbers_beyond_all_measure_in_step_names_make_no_step(tmp_path):
    path = write_trace(tmp_path / "t.json", names=("_ZN" + "9" * 5000 + "a", *LAYER))
    text = path.read_text().replace(
        "execute_4_context_0(0)_generation_4(4)", "tokprof.decode#rep=99999999999,step=1", 1
    )
    path.write_text(
        text.replace("execute_4_context_0(0)_generation_4(4)", f"execute_context_{'9' * 5000}(1)_generation_1(1)")
    )
    for asked in (("analyze", path), ("analyze", path, "--parquet", "tables"), ("compare", path, path)):
        done = tokprof(*asked, folder=tmp_path)
        assert done.returncode == 0, done.stderr


def test_ranks_that_cannot_be_read_are_left_out_wherever_they_stand(tmp_path):
    for rank in (0, 1, 3):
        (tmp_path / f"rank{rank}.json").write_text('{"traceEvents": [{"ph": "X", "na')
    write_trace(tmp_path / "rank2.json")
    done = tokprof("analyze", ".", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert [rank["file"] for rank in content["ranks"]] == ["rank2.json"]
    said = [note["message"] for note in content["notes"]]
    assert sum("4 traces; this is rank2.json" in words for words in said) == 1
    assert [words.split(":")[1].strip() for words in said if words.startswith("left out")] == [
        "rank0.json", "rank1.json", "rank3.json",
    ]  # fmt: skip
    done = tokprof("compare", ".", "rank2.json", "--no-page", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "rank2.json").write_text("[")
    done = tokprof("analyze", ".", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("tokprof: rank0.json")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_other_json_beside_ranks_is_left_out_with_a_note(packed, tmp_path):
    for rank in (0, 1):
        write_trace(tmp_path / f"rank{rank}.json")
    content = json.dumps({"model_path": "m", "port": 30000}).encode()
    name = "server_args.json.gz" if packed else "server_args.json"
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    for asked in (("analyze", "."), ("compare", ".", "rank1.json")):
        done = tokprof(*asked, folder=tmp_path, columns=200)
        assert done.returncode == 0, done.stderr
        assert f"left out, for they are no traces: {name}" in done.stdout
    for rank in (0, 1):
        (tmp_path / f"rank{rank}.json").unlink()
    done = tokprof("analyze", ".", folder=tmp_path)
    assert done.returncode == 2
    assert "no trace here" in done.stderr
