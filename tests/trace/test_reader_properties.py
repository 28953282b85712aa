"""Whatever the events, reading agrees with a plain reading and does not depend on layout, order, gzip or block size."""

import gzip
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokprof.profiler.errors import TokprofError
from tokprof.profiler.trace import reader
from tokprof.profiler.trace.events import nanoseconds
from tokprof.profiler.trace.reader import read_trace

sys.path.insert(0, str(Path(__file__).parent))
from trace_makers import (
    KINDS,
    LAYOUTS,
    SCANNERS,
    Verbatim,
    accounted,
    document,
    expected,
    parsed,
    rows_of,
    small_blocks,
    use_scanner,
    whole_ns,
)

QUIET = settings(max_examples=40, suppress_health_check=list(HealthCheck))
by_each_scanner = pytest.mark.usefixtures("scanner")

# ------------------------------------------------------------------------------------------------------------ events

FIGURES = st.one_of(
    st.integers(0, 2**50).map(str),
    st.tuples(st.integers(0, 2_000_000_000_000_000), st.text("0123456789", min_size=1, max_size=9)).map(
        lambda parts: f"{parts[0]}.{parts[1]}"
    ),
    st.tuples(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(["e3", "E+2", "e-2", "e0"])).map(
        lambda parts: f"{parts[0]}.{parts[1]}{parts[2]}"
    ),
).map(Verbatim)
NAMES = st.one_of(
    st.sampled_from(["gemm", "aten::mm", "ncclKernel_AllReduce", 'void k<"a\\b">({[,]})', "", "name", '"ts": 5']),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
PLACES = st.one_of(st.integers(0, 3), st.sampled_from(["7", "Spans", "ü"]))
IDS = st.integers(1, 9)
SIZES = st.one_of(st.integers(0, 2**64), st.integers(-2, 9), st.sampled_from([Verbatim("1.0"), Verbatim("1e3"), True]))
SHAPES = st.one_of(
    st.lists(st.lists(st.integers(0, 2000), max_size=4), max_size=3),
    st.lists(st.lists(st.one_of(SIZES, st.lists(SIZES, max_size=2)), max_size=3), max_size=3),
    st.none(),
    st.just("[[1]]"),
)
ARGS = st.fixed_dictionaries(
    {},
    optional={
        "correlation": IDS,
        "External id": IDS,
        "stream": st.integers(0, 3),
        "device": st.integers(0, 1),
        "bytes": st.integers(0, 2**40),
        "shapes": st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), NAMES),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=6,
        ),
        "Input Dims": SHAPES,
        "Input Strides": SHAPES,
        "Input type": st.one_of(st.lists(st.one_of(st.just("float"), NAMES), max_size=3), st.lists(st.integers())),
        "stack": st.dictionaries(st.sampled_from(["correlation", "ts", "x"]), IDS, max_size=2),
    },
)


@st.composite
def event(draw):
    phase = draw(st.sampled_from("XXXXXXXXiCMstf"))
    found = {"ph": phase, "name": draw(NAMES), "pid": draw(PLACES), "tid": draw(PLACES), "ts": draw(FIGURES)}
    if phase == "X":
        unplain = [Verbatim(r'"\u006bernel"'), Verbatim('"\u212aernel"'), Verbatim('"gpu\\u005fmemcpy"')]
        found["cat"] = draw(st.sampled_from([*KINDS, "Kernel", "Trace", *unplain]))
        found["dur"] = draw(FIGURES)
    if phase == "C":
        found["args"] = {"series": draw(st.integers(0, 9))}
    elif draw(st.booleans()):
        found["args"] = draw(ARGS)
    keys = draw(st.permutations(list(found)))
    return {key: found[key] for key in keys}


def unlike(events):
    """Leave out device events that equal another: they are one event told twice, see the reader's tests."""
    kept, seen = [], set()
    for item in events:
        key = json.dumps({**item, "args": 0}, sort_keys=True)
        if key not in seen:
            kept.append(item)
        seen.add(key)
    return kept


@st.composite
def pair_events(draw):
    """Properly nested begin/end pairs of one thread, at distinct times."""
    events, open_names, now = [], [], draw(st.integers(0, 100))
    thread = draw(st.integers(20, 22))
    for closing in draw(st.lists(st.booleans(), max_size=8)) + [True] * 8:
        now += draw(st.integers(1, 50))
        place = {"pid": 5, "tid": thread, "ts": Verbatim(f"{now}.{now % 1000:03}")}
        if not closing:
            name = draw(NAMES)
            open_names.append(name)
            events.append({"ph": "B", "cat": "cpu_op", "name": name, **place})
        elif open_names:
            events.append({"ph": "E", "name": open_names.pop(), **place})
    return events


EVENTS = st.lists(event(), max_size=12).map(unlike)
LAYOUT = st.sampled_from(LAYOUTS)
BLOCKS = st.sampled_from([1, 2, 3, 17, 100, 2 << 20])


def reading(content, block, folder, *, packed=False, name="t.json"):
    path = folder / name
    path.write_bytes(gzip.compress(content, compresslevel=1) if packed else content)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, block)
        return read_trace(path, cache=False)


def one_line(error):
    assert "\n" not in str(error)


# ------------------------------------------------------------------------------------------------------------- exact


@by_each_scanner
@QUIET
@given(EVENTS, LAYOUT, BLOCKS, st.booleans())
def test_reading_agrees_with_a_plain_reading(tmp_path, events, layout, block, packed):
    content = document(events, layout)
    trace = reading(content, block, tmp_path, packed=packed)
    rows, counts = expected(parsed(content)[0])
    assert rows_of(trace) == rows
    assert trace.counts.total == len(events)
    for what in ("slices", "instants", "counters", "flows", "metadata"):
        assert getattr(trace.counts, what) == counts[what]
    assert trace.notes == ()
    accounted(trace.counts, pairs=0)


@by_each_scanner
@QUIET
@given(pair_events(), pair_events(), EVENTS, BLOCKS, st.randoms(use_true_random=False))
def test_begin_end_pairs_agree_in_any_order(tmp_path, one, other, events, block, random):
    for item in other:
        item["pid"] = 6  # another thread, whatever its number
    rows, counts = expected(parsed(document([*one, *other, *events]))[0])
    listed = [*one, *other, *events]
    random.shuffle(listed)
    trace = reading(document(listed), block, tmp_path)
    assert rows_of(trace) == rows
    accounted(trace.counts, pairs=counts["pairs"])


def columns_of(trace):
    """Return everything of a trace that may not depend on how its file is written."""
    links = Counter()
    for row in range(len(trace.device)):
        launch, outer = int(trace.device.launch[row]), int(trace.device.operator[row])
        host = trace.host
        links[
            (
                int(trace.device.start_ns[row]),
                int(trace.device.duration_ns[row]),
                None if launch < 0 else int(host.correlation[launch]),
                None if outer < 0 else int(host.duration_ns[outer]),
            )
        ] += 1
    counters = Counter(
        zip(
            (trace.counters.names[n] for n in trace.counters.name),
            trace.counters.time_ns.tolist(),
            trace.counters.value.tolist(),
            strict=True,
        )
    )
    instants = Counter(
        zip((trace.instants.names[n] for n in trace.instants.name), trace.instants.start_ns.tolist(), strict=True)
    )
    return rows_of(trace), links, counters, instants, trace.counts


@by_each_scanner
@QUIET
@given(EVENTS, LAYOUT, LAYOUT, BLOCKS, BLOCKS)
def test_reading_does_not_depend_on_layout_gzip_or_block(tmp_path, events, one, other, block, other_block):
    a = reading(document(events, one), block, tmp_path)
    b = reading(
        document(events, other, {"before": [1, {"a": "]}"}]}, {"after": None}), other_block, tmp_path, packed=True
    )
    assert columns_of(a) == columns_of(b)


@by_each_scanner
@QUIET
@given(EVENTS, st.randoms(use_true_random=False))
def test_reading_does_not_depend_on_order(tmp_path, events, random):
    shuffled = list(events)
    random.shuffle(shuffled)
    a, b = (reading(document(listed), 64, tmp_path) for listed in (events, shuffled))
    # Which of two launches with one correlation id is found, and which of two equal rows stands first, is left open.
    assert rows_of(a) == rows_of(b)
    assert columns_of(a)[2:] == columns_of(b)[2:]


@settings(QUIET, max_examples=500)
@given(FIGURES)
def test_nanoseconds_are_the_decimal_figure(figure):
    value = parsed(document([Verbatim(figure)], "array"))[0][0]
    assert nanoseconds(figure.encode()) == whole_ns(value)


# ------------------------------------------------------------------------------------------------------------ damage


@by_each_scanner
@QUIET
@given(EVENTS.filter(len), LAYOUT, BLOCKS, st.floats(0, 1), st.booleans())
def test_truncation_keeps_a_prefix_of_whole_events(tmp_path, events, layout, block, place, packed):
    content = document(events, layout, {"first": 1}, {"last": 2})
    cut = int(place * len(content))
    pack = gzip.compress if packed else bytes
    try:
        trace = reading(pack(content[:cut]), block, tmp_path)
    except TokprofError as error:
        one_line(error)
        return
    kept = trace.counts.total - sum(n for _, n in trace.counts.rejected)
    rows, _ = expected(parsed(document(events[:kept]))[0])
    assert rows_of(trace) == rows
    assert trace.notes or cut >= len(content.rstrip())
    accounted(trace.counts)


ODD = st.sampled_from(
    ["null", "5", '"x"', "[]", "{}", '{"ph": "X"}', '{"ph": "X", "ts": NaN, "dur": 1}',
     '{"ph": "X", "ts": 1, "dur": -2}',
     '{"ph": "Q", "ts": 1}', '{"ph": "X", "ts": 1e400, "dur": 1}', '{"ph": "X", "ts": 1, "dur": "x"}',
     '{"ph": "E", "ts": 1}', '{"ph": "X", "ts": true, "dur": 1}', '{"ph": "X", "ts": {"a": [1, "]"]}, "dur": 1}']
).map(Verbatim)  # fmt: skip


@by_each_scanner
@QUIET
@given(EVENTS, st.lists(st.tuples(st.floats(0, 1), ODD), min_size=1, max_size=4), LAYOUT, BLOCKS)
def test_unusable_elements_change_nothing_but_their_count(tmp_path, events, odd, layout, block):
    listed = list(events)
    for place, element in odd:
        listed.insert(int(place * len(listed)), element)
    trace = reading(document(listed, layout), block, tmp_path)
    assert rows_of(trace) == expected(parsed(document(events))[0])[0]
    assert sum(n for _, n in trace.counts.rejected) == len(odd)
    assert trace.counts.total == len(listed)
    assert trace.notes
    accounted(trace.counts)


@by_each_scanner
@settings(QUIET, max_examples=100)
@given(
    EVENTS, LAYOUT, BLOCKS, st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 3)), max_size=3)
)
def test_random_damage_is_read_or_refused_but_never_silent(tmp_path, events, layout, block, damage):
    content = document(events, layout)
    for place, put, gone in damage:
        at = int(place * len(content))
        content = content[:at] + put + content[at + gone :]
    try:
        trace = reading(content, block, tmp_path)
    except TokprofError as error:
        one_line(error)
        return
    accounted(trace.counts)
    try:
        listed, _ = parsed(content)
    except (ValueError, KeyError, TypeError, RecursionError):
        assert trace.notes  # no JSON, so something must have been mended or lost
        return
    if not trace.notes:
        assert isinstance(listed, list)
        assert rows_of(trace) == expected(listed)[0]


@by_each_scanner
@settings(QUIET, max_examples=100)
@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"[", b"{", b'{"traceEvents": [', b"\x1f\x8b\x08\x00", b"\xef\xbb\xbf["]),
)
def test_arbitrary_bytes_raise_nothing_but_our_errors(tmp_path, content, start):
    path = tmp_path / "t.json"
    path.write_bytes(start + content)
    try:
        accounted(read_trace(path, cache=False).counts)
    except TokprofError as error:
        one_line(error)


def unlike_text(trace):
    """Return what was counted, less bytes that are no text: the native scanner does not look into what it skips."""
    counts = trace.counts
    repaired = [(why, count) for why, count in counts.repaired if "UTF-8" not in why]
    kinds = (counts.slices, counts.instants, counts.counters, counts.flows, counts.metadata, counts.total)
    return kinds, repaired, counts.rejected, {note.code for note in trace.notes} - {"trace-repaired"}


@settings(QUIET, max_examples=100)
@given(EVENTS, LAYOUT, st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 3)), max_size=3))
@pytest.mark.skipif(len(SCANNERS) < 2, reason="one scanner only")
def test_both_scanners_give_the_same_trace(tmp_path, events, layout, damage):
    content = document(events, layout)
    for place, put, gone in damage:
        at = int(place * len(content))
        content = content[:at] + put + content[at + gone :]
    found = []
    for name in SCANNERS:
        with pytest.MonkeyPatch.context() as patch:
            use_scanner(name, patch)
            try:
                trace = reading(content, 2 << 20, tmp_path)
                found.append((*columns_of(trace)[:4], trace.properties, unlike_text(trace)))
            except TokprofError as error:
                found.append(str(error))
    assert found[0] == found[1]


# ---------------------------------------------------------------------------------------------------- work in damage


def work_event(number):
    args = {"device": 0, "stream": 7, "correlation": number}
    place = {"ph": "X", "cat": "kernel", "name": "gemm", "pid": 0, "tid": 7, "ts": number, "dur": 1}
    return place | {"args": args}


class Work:
    """Counts the bytes over which the reader follows brackets and decodes in Python."""

    def __init__(self, patch):
        self.bytes = 0
        element_end, takes = reader._element_end, reader._PythonScanner._takes

        def counted_end(buffer, start, stop):
            end = element_end(buffer, start, stop)
            self.bytes += (stop if end is None else end) - start
            return end

        def counted_takes(scanner, block):
            self.bytes += len(block)
            return takes(scanner, block)

        patch.setattr(reader, "_element_end", counted_end)
        patch.setattr(reader._PythonScanner, "_takes", counted_takes)


@pytest.mark.parametrize("layout", ["one line", "native"])
@pytest.mark.parametrize("damage", [(b'"name": "gemm"', b'"name": "gemm'), (b'"stream"', b'[{"stream"')])
def test_going_on_behind_damage_is_work_in_proportion_to_the_text(damage, layout, tmp_path, monkeypatch):
    """Every other event is torn: following the brackets of each to the end would be quadratic."""
    monkeypatch.setattr(reader, "LOOK_BYTES", 1 << 12)
    used, found = {}, {}
    for count in (600, 1200):
        parts = re.split(rb'(?<=[\[,])\s*(?=\{\s*"ph")', document([work_event(n + 1) for n in range(count)], layout))
        torn = [part.replace(*damage) if n % 2 else part for n, part in enumerate(parts)]
        (tmp_path / "torn.json").write_bytes(b"".join(torn))
        for scanner in SCANNERS:
            with pytest.MonkeyPatch.context() as patch:
                use_scanner(scanner, patch)
                work = Work(patch)
                trace = reader.read_trace(tmp_path / "torn.json")
            assert len(trace.device) > 0.45 * count
            assert max(trace.device.correlation) > count - 2
            accounted(trace.counts)
            used[scanner, count] = work.bytes
            found[scanner, count] = rows_of(trace), trace.counts
    for scanner in SCANNERS:
        assert used[scanner, 1200] < 2.5 * used[scanner, 600]
        assert all(found[scanner, count] == found[SCANNERS[0], count] for count in (600, 1200))


def test_a_byte_of_a_real_gzip_flipped_ends_and_is_said(real_traces, tmp_path, monkeypatch):
    """It garbles every later line, for these refer back to it."""
    monkeypatch.setattr(reader, "LOOK_BYTES", 1 << 20)
    content = bytearray((real_traces / "h100_qwen1.5-0.5b_prefill.json.gz").read_bytes())
    content[200_000] ^= 255
    (tmp_path / "t.json.gz").write_bytes(content)
    found = []
    for scanner in SCANNERS:
        with pytest.MonkeyPatch.context() as patch:
            use_scanner(scanner, patch)
            work = Work(patch)
            trace = reader.read_trace(tmp_path / "t.json.gz")
        assert work.bytes < 8 * 8_607_042 + reader.LOOK_BYTES
        accounted(trace.counts)
        found.append((rows_of(trace), trace.counts))
        advice = " ".join(note.advice for note in trace.notes)
        assert "what was kept may be wrong" in advice
    assert all(one == found[0] for one in found)
