"""Damage of every kind is mended, left out or refused, and always said; what stands around it is kept."""

import gzip
import io
import json
import pickle
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tokprof.profiler.errors import FileFormatError, TokprofError
from tokprof.profiler.trace.reader import read_trace

sys.path.insert(0, str(Path(__file__).parent))
from trace_makers import (
    GOOD,
    SMALL,
    V,
    Verbatim,
    accounted,
    document,
    kernel,
    refused,
    rows_of,
    said,
    small_blocks,
    small_is_whole,
    with_event,
    written,
)

pytestmark = pytest.mark.usefixtures("scanner")

# ------------------------------------------------------------------------------------------------- figures and fields


@pytest.mark.parametrize("field", ["ts", "dur"])
@pytest.mark.parametrize(
    "figure",
    [
        "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e999999999", "1e99999999999999999999", "1" + "0" * 30,
        "-1" + "0" * 30, "9" * 5000, "0." + "9" * 5000 + "e4999", "true", "false", "[]", "[1]", "{}", '{"a": 1}', '""',
        '"abc"',
        '"NaN"', '"Infinity"', '"1_0"', '"0x10"', '"1 2"', '"1,5"', '"\\u0663"', "9223372036854775807",
        "9223372036854776", "-9223372036854776",
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_figures_that_are_no_time_reject_their_event_alone(field, figure, read):
    trace = read(with_event(kernel(5, 50, 9) | {field: V(figure)}))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert trace.device.correlation.tolist() == [1, 2, 3]
    assert sum(n for _, n in trace.counts.rejected) == 1
    word = "start" if field == "ts" else "duration"
    assert word in trace.counts.rejected[0][0]
    assert word in said(trace)
    assert any(note.code == "trace-left-out" for note in trace.notes)
    assert trace.counts.total == 4
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("change", "rows", "words"),
    [
        ({"dur": -1}, None, "negative duration"),
        ({"dur": V("-0.001")}, None, "negative duration"),
        ({"ts": None}, None, "no start"),
        ({"ts": ...}, None, "no start"),
        ({"dur": None}, (5000, 0), "duration missing"),
        ({"dur": ...}, (5000, 0), "duration missing"),
        ({"dur": "50"}, (5000, 50_000), "duration written as a string"),
        ({"ts": "5.125", "dur": " 50.25 "}, (5125, 50_250), "start written as a string"),
        ({"ph": None}, None, "phase"),
        ({"ph": ...}, None, "phase"),
        ({"ph": ["X"]}, None, "phase"),
    ],
    ids=str,
)
def test_missing_negative_and_quoted_times(change, rows, words, read):
    event = kernel(5, 50, 9) | {key: value for key, value in change.items() if value is not ...}
    for key in [key for key, value in change.items() if value is ...]:
        del event[key]
    trace = read(with_event(event))
    expected_rows = [(1000, 1000), (3000, 2500), (7000, 125)]
    if rows:
        expected_rows.insert(2, rows)
    assert list(zip(trace.device.start_ns.tolist(), trace.device.duration_ns.tolist(), strict=True)) == expected_rows
    assert words in said(trace)
    assert trace.notes
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("9", 9), (" 9 ", 9), ("-9", -9), (V("9.0"), 9), (V("9e0"), 9), (None, -1), (True, -1), ("x", -1), ("", -1),
        ("1_0", -1), ([9], -1), ({"a": 9}, -1), (V("9.5"), -1), (V("NaN"), -1), (2**63 - 1, 2**63 - 1), (2**63, -1),
        (2**64 - 1, -1), (-(2**63) - 1, -1), (10**30, -1), (V("9" * 5000), -1), (V("1e400"), -1),
        (2**53 + 1, 2**53 + 1),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
@pytest.mark.parametrize("key", ["correlation", "External id", "stream"])
def test_odd_identifiers_never_cost_the_event(key, value, number, read):
    event = kernel(5, 50, 9)
    event["args"][key] = value
    trace = read(with_event(event))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 50_000, 125]
    column = {"correlation": "correlation", "External id": "external", "stream": "stream"}[key]
    assert getattr(trace.device, column)[2] == number
    accounted(trace.counts)
    if isinstance(value, str) and not isinstance(value, Verbatim) and number == 9:
        assert "identifier written as a string" in said(trace)


@pytest.mark.parametrize("args", ["null", "5", '"text"', "[]", "[[1]]", "NaN", "true", "{}"], ids=str)
def test_arguments_that_are_no_object_never_cost_the_event(args, read):
    trace = read(with_event(kernel(5, 50, 9) | {"args": V(args)}))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 50_000, 125]
    assert trace.device.correlation[2] == -1
    accounted(trace.counts)


@pytest.mark.parametrize(
    "element", ["null", "5", "-1.5e3", '"text"', '"}, {"', "[]", '[{"ph": "X"}]', "true", "NaN", "[[[]]]"]
)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_elements_that_are_no_event_are_counted(element, place, read):
    listed = [*GOOD[:place], V(element), *GOOD[place:]]
    trace = read(document(listed))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert sum(n for _, n in trace.counts.rejected) == 1
    assert trace.counts.total == 4
    assert any(note.code == "trace-left-out" for note in trace.notes)
    accounted(trace.counts)


def test_an_empty_object_is_an_event_without_phase(read):
    trace = read(with_event({}))
    assert trace.counts.rejected == (("no phase", 1),)
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (b'"name": "ge\xffmm"', "ge�mm"),
        (b'"name": "\xc3"', "�"),
        (b'"name": "\xed\xa0\x80"', "���"),
        (b'"name": "\xf8\x88\x80\x80\x80"', "�����"),
        (b'"name": "\\ud800"', "�"),
        (b'"name": "\\udc00\\ud800x"', "��x"),
        (b'"na\xffme": "x", "name": "gemm"', "gemm"),
        (b'"note": "\xff\xfe", "name": "gemm"', "gemm"),
        (b'"name": "gemm", "other": "\\ud800"', "gemm"),
    ],
)
def test_bytes_that_are_no_text_become_replacement_signs(damage, name, read):
    content = with_event(kernel(5, 50, 9)).replace(b"\n", b"\0")
    lines = document([*GOOD[:2], kernel(5, 50, 9), GOOD[2]], "one event a line").split(b"\n")
    content = b"\n".join(line.replace(b'"name": "gemm"', damage) if b'"ts": 5' in line else line for line in lines)
    trace = read(content)
    assert trace.device.duration_ns.tolist() == [1000, 2500, 50_000, 125]
    found = trace.device.names[trace.device.name[2]]
    found.encode()  # it can be written to any file
    assert found == name or found == name.replace("�", "?") or set(found) == set(name)
    accounted(trace.counts)
    if "�" in name:
        assert trace.notes


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({"name": "#"}, "invalid UTF-8 replaced"),
        ({"cat": "kernel#"}, "invalid UTF-8 replaced"),
        ({"pid": "#"}, "invalid UTF-8 replaced"),
        ({"tid": "7#", "name": "#"}, "invalid UTF-8 replaced"),
        ({"ph": "M", "name": "thread_name", "args": {"name": "#"}}, "invalid UTF-8 replaced"),
        ({"name": "~"}, "unpaired surrogate in a name"),
        # What nobody reads is not judged either.
        ({"note": "#"}, None),
        ({"args": {"note": "#", "#": 1}}, None),
        ({"ph": "s", "name": "#", "cat": "#", "pid": "#"}, None),
        ({"ph": "s", "name": "~"}, None),
    ],
)
def test_bytes_that_are_no_text_are_counted_by_event_where_they_are_kept(place, reason, read):
    events = [{**kernel(at, 1, at), **place, "ts": at} for at in range(3)]
    content = document([*GOOD, *events]).replace(b"#", b"\xff").replace(b"~", b"\\ud800")
    assert read(content).counts.repaired == (((reason, 3),) if reason else ())


def test_lone_surrogates_in_threads_properties_and_metadata_can_be_written(read):
    event = kernel(5, 50, 9) | {"pid": V('"\\ud800"'), "cat": V('"\\udfff"')}
    meta = {"ph": "M", "name": "process_name", "pid": V('"\\ud800"'), "tid": 0, "args": {"name": V('"a\\udc12"')}}
    trace = read(document([meta, event, *GOOD], before={"key": V('"\\ud800"')}))
    text = [*(t.process + t.process_name + t.thread + t.thread_name for t in trace.threads), *sum(trace.properties, ())]
    "".join([*text, *trace.host.names]).encode()
    assert trace.host.duration_ns.tolist() == [50_000]


@pytest.mark.parametrize("sign", [b"\n", b"\t", b"\0", b"\x1f", b"\x7f"])
def test_control_signs_inside_strings(sign, read):
    content = with_event(kernel(5, 50, 9, name="a#b")).replace(b"#", sign)
    trace = read(content)
    durations = trace.device.duration_ns.tolist()
    if durations == [1000, 2500, 125]:
        assert sum(n for _, n in trace.counts.rejected) == 1
    else:
        assert durations == [1000, 2500, 50_000, 125]
        assert trace.device.names[trace.device.name[2]] == f"a{sign.decode()}b"
    accounted(trace.counts)


@pytest.mark.parametrize(
    "broken",
    [
        '{"ph": "X" "cat": "kernel", "ts": 5, "dur": 50}',
        '{"ph": "X", "ts": 5, "dur": }',
        '{"ph": "X", "ts": 5, "dur"}',
        '{"ph": "X", "ts": 5, "dur": 5x}',
        '{"ph": "X", "ts": 5, "dur": +5}',
        '{"ph": "X", "ts": 5, "dur": 05}',
        '{"ph": "X", "ts": 5, "dur": .5}',
        '{"ph": "X", "ts": 5, "dur": 5.}',
        '{"ph": "X", "ts": 5, "dur": 1e}',
        '{"ph": "X", "ts": 5, "dur": --5}',
        '{"ph": "X", "ts": 5, "dur": 5, ,}',
        '{"ph": "X", "ts": 5, "dur": 5, "name": "\\x"}',
        '{"ph": "X", "ts": 5, "dur": 5, "name": "\\u12"}',
        "{'ph': 'X', 'ts': 5, 'dur': 5}",
        '{ph: "X", ts: 5, dur: 5}',
        '{"ph": "X", "ts": 5, "dur": 5, "args": {1: 2}}',
        '{"ph": "X", "ts": 5, "dur": 5, "args": nul}',
        '{"ph": "X", "ts": 5, "dur": 5, "args": [1, 2}}',
        "nul",
    ],
)
def test_an_element_that_is_no_json_is_left_out_alone(broken, read):
    """Either nothing but this element is lost, or the file is refused; it is never half-read unsaid."""
    content = with_event(V(broken))
    trace = read(content)
    assert trace.device.duration_ns.tolist()[:2] == [1000, 2500]
    assert trace.device.duration_ns.tolist()[2:] in ([125], [])
    assert trace.host.duration_ns.tolist() == []
    assert trace.notes
    if trace.device.duration_ns.tolist()[2:] == []:
        assert any(note.code == "trace-truncated" for note in trace.notes)
    else:
        assert sum(n for _, n in trace.counts.rejected) == 1
    accounted(trace.counts)


@pytest.mark.parametrize("block", [1, 50, 400, 2 << 20])
@pytest.mark.parametrize("gone", [b'"', b'": ', b"}", b"{", b'"dur": ', b"}}"])
def test_a_torn_event_costs_itself_alone(gone, block, read, monkeypatch):
    """A sign is missing inside one of many events: what stands after it is found again, in any block."""
    small_blocks(monkeypatch, block)
    listed = [kernel(n, V(f"0.{n:03}"), n, name=f"kernel {n}") for n in range(1, 21)]
    lines = document(listed, "one event a line").split(b"\n")
    place = len(lines) // 2
    lines[place] = lines[place].replace(gone, b"", 1)
    trace = read(b"\n".join(lines))
    kept = trace.device.correlation.tolist()
    lost = set(range(1, 21)) - set(kept)
    assert 1 <= len(lost) <= 2  # the event itself and at most its neighbour, into which it runs
    assert max(lost) - min(lost) < 2
    assert trace.device.duration_ns.tolist() == kept
    assert trace.notes
    accounted(trace.counts)


def test_a_list_that_a_stray_bracket_seems_to_end_goes_on(read):
    listed = document(GOOD, "one event a line")
    trace = read(listed.replace(b"[\n{", b"[\n{x} ],\n{"))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert "stray ]" in said(trace)
    accounted(trace.counts)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"}\n]", b"},\n]", "comma"),
        (b"}\n]", b"},,,\n]", "comma"),
        (b"[\n{", b"[,\n{", "comma"),
        (b"}},\n{", b"}}\n{", "comma"),
        (b"}},\n{", b"}},,{", "comma"),
    ],
)
def test_commas_too_many_or_too_few_are_mended_with_a_note(before, after, words, read):
    content = document(GOOD, "one event a line")
    assert before in content
    trace = read(content.replace(before, after))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert words in said(trace)
    assert trace.notes
    accounted(trace.counts)


def test_a_comma_at_the_end_of_an_event_or_its_arguments(read):
    for inside in ('"tid": 7, "ts": 5, "dur": 50,}', '"tid": 7, "ts": 5, "dur": 50, "args": {"stream": 7,}}'):
        content = with_event(V('{"ph": "X", "cat": "kernel", "name": "k", "pid": 0, ' + inside))
        trace = read(content)
        assert trace.device.duration_ns.tolist() in ([1000, 2500, 125], [1000, 2500, 50_000, 125])
        assert trace.notes
        accounted(trace.counts)


@pytest.mark.parametrize("second", [b'{"traceEvents": []}', document(GOOD), b"[]", b"garbage", b"]", b"}", b"\0" * 9])
@pytest.mark.parametrize("layout", ["one line", "native", "array"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_follows_the_document_is_said(second, layout, packed, read):
    content = document(SMALL, layout)
    pack = gzip.compress if packed else bytes
    trace = read(pack(content) + b"\n" * (not packed) + pack(second))
    small_is_whole(trace)
    assert any(f"{len(content):,}"[:-1] in n.message or "byte" in n.message for n in trace.notes), trace.notes


def test_exact_duplicates_of_device_events_count_once(read):
    copy = dict(reversed(GOOD[1].items()))
    other_stream = kernel(3, V("2.5"), 2, stream=8)
    trace = read(document([*GOOD, copy, other_stream, GOOD[1], kernel(3, V("2.500"), 2)]))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 2500, 125]
    assert "duplicate" in said(trace)
    assert trace.notes
    assert trace.counts.total == 7
    assert trace.counts.device_events == 4
    accounted(trace.counts)


def test_equal_kernels_without_identity_are_all_kept(read):
    """Without a correlation id nothing says that two equal rows are one event."""
    event = {"ph": "X", "cat": "kernel", "name": "k", "pid": 0, "tid": 7, "ts": 5, "dur": 0}
    assert len(read(document([event, event])).device) == 2


def test_the_last_of_two_equal_keys_counts_as_json_has_it(read):
    text = '{"ph": "M", "cat": "x", "ph": "X", "cat": "kernel", "name": "a", "name": "b", "pid": 0, "tid": 7, '
    text += '"ts": 1, "ts": 5, "dur": 1, "dur": 50, "args": {"stream": 1}, '
    text += '"args": {"stream": 7, "correlation": 1, "correlation": 9}}'
    trace = read(with_event(V(text)))
    rows = [row for row in rows_of(trace) if row[3] == 5000]
    assert rows == [(0, "b", ("0", "7"), 5000, 50_000, 9, -1, 7, None)]


def test_two_event_lists_are_both_read_and_said(read):
    text = written({"traceEvents": GOOD[:2]})[:-1] + ', "traceEvents": ' + written(GOOD[2:]) + "}"
    trace = read(text.encode())
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert "second event list" in said(trace)
    assert trace.notes
    accounted(trace.counts)


def test_reversed_order_is_the_same_trace(read):
    forward, backward = read(document(SMALL)), read(document(SMALL[::-1]))
    assert rows_of(forward) == rows_of(backward)
    assert forward.device.start_ns.tolist() == backward.device.start_ns.tolist()
    small_is_whole(backward)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("place", ["args", "element", "property", "name"])
def test_deep_nesting_breaks_nothing(opening, place, read):
    closing = "".join({"[": "]", "{": "}"}[sign] for sign in reversed(opening) if sign in "[{")
    deep = V(opening * 100_000 + "1" + closing * 100_000)
    if place == "property":
        try:
            trace = read(document(GOOD, before={"deep": deep}))
        except FileFormatError as error:
            refused(error, "byte")
            return
        assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
        return
    trace = read(with_event(deep if place == "element" else kernel(5, 50, 9) | {place: deep}))
    durations = trace.device.duration_ns.tolist()
    if durations != [1000, 2500, 50_000, 125]:
        assert durations == [1000, 2500, 125]
        assert sum(n for _, n in trace.counts.rejected) == 1
    accounted(trace.counts)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [True, False])
def test_an_event_of_many_megabytes(closed, tmp_path):
    path = tmp_path / "t.json"
    long = kernel(5, 50, 9) | {"args": {"x": "y" * 20_000_000, "stream": 7, "correlation": 9}}
    content = with_event(long)
    path.write_bytes(content if closed else content[:12_000_000])
    try:
        trace = read_trace(path, cache=False)
    except FileFormatError as error:
        refused(error, path)
    else:
        assert trace.device.duration_ns.tolist() == ([1000, 2500, 50_000, 125] if closed else [1000, 2500])
        accounted(trace.counts)


# --------------------------------------------------------------------------------------------------------- truncation


def ends_of(content, events):
    """Return where each event of the list ends in the text."""
    ends, at = [], content.index(b'"traceEvents"') if b'"traceEvents"' in content else 0
    decoder = json.JSONDecoder()
    text = content.decode()
    at = text.index("[", at) + 1
    for _ in events:
        at = text.index("{", at)
        at = decoder.raw_decode(text, at)[1]
        ends.append(len(text[:at].encode()))
    return ends


CUT = [
    kernel(V("1.5"), 1, 1, name='a\\u"}{]['),
    {
        "ph": "X",
        "name": "ü",
        "pid": "p",
        "tid": [1],
        "ts": V("2.5e0"),
        "dur": 2,
        "args": {"a": {"b": [1, {"c": None}]}},
    },
    kernel(4, V("0.25"), 3),
]


@pytest.mark.parametrize(
    ("layout", "block"),
    [("one line", 5), ("one line", 2 << 20), ("array", 5), ("native", 2 << 20), ("indent 2", 64)],
)
def test_a_trace_cut_off_anywhere_keeps_its_whole_events(layout, block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    content = document(CUT, layout, {"schemaVersion": 1}, {"traceName": "x", "n": 12})
    ends = ends_of(content, CUT)
    whole = [1000, 2000, 250]
    done = len(content.rstrip())
    path = tmp_path / "t.json"
    for cut in range(done):
        path.write_bytes(content[:cut])
        kept = sum(end <= cut for end in ends)
        if not kept:
            with pytest.raises(FileFormatError) as caught:
                read_trace(path, cache=False)
            refused(caught.value, path)
            continue
        trace = read_trace(path, cache=False)
        durations = [*trace.device.duration_ns.tolist(), *trace.host.duration_ns.tolist()]
        assert sorted(durations) == sorted(whole[:kept]), (cut, content[:cut][-40:])
        note = next(note for note in trace.notes if note.code == "trace-truncated")
        assert re.search(rf"\b{kept}\b", note.message)
        assert re.search(r"byte \d", note.message)
        accounted(trace.counts)
    path.write_bytes(content[:done])
    assert read_trace(path, cache=False).notes == ()


@pytest.mark.parametrize("block", [64, 2 << 20])
def test_a_gzip_cut_off_anywhere_keeps_a_prefix(block, tmp_path, monkeypatch):
    small_blocks(monkeypatch, block)
    events = [kernel(n, V(f"0.{n:03}"), n, name=f"kernel {n * 7919 % 1000}") for n in range(1, 40)]
    packed = gzip.compress(document(events, "native"), compresslevel=1)
    path = tmp_path / "t.json.gz"
    most = 0
    for cut in [*range(2, len(packed) - 30, 9), *range(len(packed) - 30, len(packed))]:
        path.write_bytes(packed[:cut])
        try:
            trace = read_trace(path, cache=False)
        except FileFormatError as error:
            refused(error, path)
            continue
        kept = len(trace.device)
        assert trace.device.duration_ns.tolist() == list(range(1, kept + 1))
        assert kept >= most
        most = kept
        assert any(note.code == "trace-truncated" for note in trace.notes), cut
    assert most == len(events)


def test_a_truncated_gzip_gives_all_that_can_be_unpacked(tmp_path):
    events = [kernel(n, 1, n, name=f"kernel {n * 7919 % 100_003}") for n in range(1, 4000)]
    packed = gzip.compress(document(events, "native"))
    path = tmp_path / "t.json.gz"
    path.write_bytes(packed[: len(packed) // 2])
    assert 1500 < len(read_trace(path, cache=False).device) < 2500


@pytest.mark.parametrize("place", [-8, -4])
def test_a_gzip_whose_checksum_or_length_is_wrong_is_said(place, read):
    packed = bytearray(gzip.compress(document(GOOD)))
    packed[place] ^= 1
    trace = read(bytes(packed))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert "gzip" in said(trace)


def test_a_flipped_bit_in_a_gzip_is_never_silent(tmp_path):
    content = document([kernel(n, V(f"0.{n:03}"), n) for n in range(1, 60)], "native")
    packed = gzip.compress(content)
    path = tmp_path / "t.json.gz"
    for place in range(10, len(packed), 5):
        broken = bytearray(packed)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            trace = read_trace(path, cache=False)
        except TokprofError as error:
            refused(error, path)
        else:
            assert trace.notes, place


# ------------------------------------------------------------------------------------------------- files of other kinds


def packed(content):
    return gzip.compress(content, mtime=0)


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("trace.json"), document(GOOD))  # of no date: it is in a test's name
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[",
        b" \n\t",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b'{"',
        b"\x1f",
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00",
        packed(b""),
        packed(b"{"),
        packed(document(GOOD))[:20],
        packed(packed(document(GOOD))),
        b"\x1f\x8b" + b"\xff" * 100,
        b"<!DOCTYPE html>\n<html><body>404</body></html>",
        pickle.dumps({"traceEvents": [1, 2]}),
        zipped(),
        b"\x28\xb5\x2f\xfd\x04\x00" + b"x" * 50,  # zstd
        b"SQLite format 3\0" + b"\0" * 100,
        '[{"ph": "X"}]'.encode("utf-16"),
        b"hello",
        b"null",
        b"12",
        b'"traceEvents"',
        b"{}",
        b'{"a": 1}',
        b'{"traceEvents"}',
        b'{"traceEvents" [',
        b'{"traceEvents":',
        b'{"traceEvents": [',
        b'{"traceEvents": [{',
        b'{"traceEvents": null}',
        b'{"traceEvents": 5}',
        b'{"traceEvents": "x"}',
        b'{"traceEvents": {"a": []}}',
        b'{"a": {"traceEvents": []}}',
        b"{5: 6}",
        b'{"a": }',
        b'{"a": "\xff',
        b"\0" * 100,
        b"}{",
        b"]",
        bytes(range(256)),
    ],
    ids=lambda content: repr(content[:28]),
)
def test_what_is_no_trace_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError) as caught:
        read_trace(path, cache=False)
    refused(caught.value, path)


def test_refusals_say_the_way_out(tmp_path):
    path = tmp_path / "t.json"
    for content, words in [
        (zipped(), "zip"),
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (b"<html>", "JSON"),
        (b'{"traceEvents": 5}', "list"),
        (gzip.compress(gzip.compress(document(GOOD))), "gzip"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=f"(?i){words}"):
            read_trace(path, cache=False)


@pytest.mark.parametrize("value", ["nul", "'x'", "", "+5", "[1,]", "{a: 1}", '"\\x"'])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_property_that_is_no_json_is_refused_or_said(value, place, read):
    try:
        trace = read(document(GOOD, "native", **{place: {"odd": V(value), "next": 5}}))
    except FileFormatError as error:
        refused(error, "t.json")
        return
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    assert trace.notes


def test_lists_without_events_are_traces_of_nothing(read):
    for content in (b"[]", b'{"traceEvents": []}', b'{"traceEvents":[ ] , "a": 1}'):
        trace = read(content)
        assert trace.counts.total == len(trace.host) == len(trace.device) == 0


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1e400", "-1e999999999", "NaN", "-Infinity", '"\\ud800"', "{}", '[[], {"a": [1, "]}"]}]']
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_odd_properties_never_cost_the_events(value, place, read):
    trace = read(document(GOOD, **{place: {"odd": V(value)}}))
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    json.dumps(dict(trace.properties)).encode()


@pytest.mark.parametrize("event", ["C", "i", "M", "s", "B"])
@pytest.mark.parametrize(
    "change", [{"ts": V("NaN")}, {"ts": V("1e999999999")}, {"args": V("[NaN]")}, {"name": V("[1]")}, {"pid": V("{}")}]
)
def test_damage_in_other_kinds_of_event_is_accounted_for(event, change, read):
    trace = read(
        document([*GOOD, {"ph": event, "name": "n", "pid": 1, "tid": 1, "ts": 1, "args": {"name": "x"}} | change])
    )
    assert trace.device.duration_ns.tolist() == [1000, 2500, 125]
    accounted(trace.counts)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", '"12"', "true", "null", "[1]", "9" * 400])
def test_counter_values_that_are_no_finite_number_are_left_out_aloud(value, read):
    track = {"ph": "C", "name": "power", "pid": 0, "tid": 0, "ts": 1}
    trace = read(document([*GOOD, track | {"args": {"W": V(value)}}, track | {"args": {"W": 5}}]))
    assert trace.counters.value.tolist()[-1:] == [5.0]
    assert np.isfinite(trace.counters.value).all()
    accounted(trace.counts)
    if value in ("NaN", "Infinity", "1e400"):
        assert trace.notes


def test_a_pair_whose_edge_has_no_time_is_accounted_for(read):
    where = {"pid": 1, "tid": 1, "name": "n"}
    for edges in (
        [{"ph": "B", "ts": V("NaN"), **where}, {"ph": "E", "ts": 4, **where}],
        [{"ph": "B", "ts": 4, **where}, {"ph": "E", **where}],
        [{"ph": "B", "ts": 4, **where}, {"ph": "E", "ts": 3, **where}],
    ):
        trace = read(document([*GOOD, *edges]))
        assert len(trace.host) == 0
        assert trace.notes
        accounted(trace.counts)


def test_an_event_that_is_wrong_twice_is_left_out_once(read):
    trace = read(document([kernel(1, 2, 7), {**kernel(1, 2, 8), "ts": None, "dur": "long"}]))
    assert (trace.counts.total, len(trace.device), sum(n for _, n in trace.counts.rejected)) == (2, 1, 1)
