"""The page of ``tokprof compare``: one self-contained HTML file that opens from disk.

The two time lines are drawn by compare.js on one canvas instead of by bokeh: ribbons between two lanes, level of detail
and a ledger whose lines lead to kernels are no bokeh glyphs, and bokeh would add its library to each page and its
import to each command (benchmarks/compare_page.py measures both). Everything from a trace is data: it is embedded as
JSON that cannot end its script element, and the script puts it on the page as text only.
"""

import math
from pathlib import Path
from typing import Any

import msgspec

from tokprof.profiler.analysis.compare import headline
from tokprof.profiler.analysis.ledger import GROUPINGS, SIDE_BY_SIDE
from tokprof.profiler.errors import new_file
from tokprof.profiler.record import PhaseDiff, StepKernels, StepLimits, TimelineDiff, TraceCounters, TypicalStep
from tokprof.profiler.report.page import STYLE
from tokprof.profiler.report.text import at_least, floor_text, reached_text
from tokprof.profiler.trace.lanes import lanes, tracks

# Okabe and Ito's palette, told apart in every common kind of colour blindness (their grey made darker: it was one with
# the pink in deuteranopia); copies are pale so that work stands out.
COLOURS = {
    "gemm": "#0072B2",
    "attention": "#D55E00",
    "norm": "#009E73",
    "elementwise": "#56B4E9",
    "embedding/sampling": "#CC79A7",
    "copy": "#F0E442",
    "collective": "#E69F00",
    "other": "#6B7177",
}
COUNTER_POINTS = 600  # of each counter track that is drawn
OVERLAP = 0.9  # of a kernel: what begins before that much of it is over runs beside it


def write_compare_page(diff: TimelineDiff, path: Path) -> None:
    """Write the comparison to one HTML file, which needs no network."""
    here = Path(__file__).parent
    script = (here / "compare.js").read_text(encoding="utf-8")
    style = (here / "compare.css").read_text(encoding="utf-8")
    page = _PAGE.format(style=STYLE + style, script=script, data=embedded(page_data(diff)))
    with new_file(path, "--html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def embedded(value: object) -> str:
    """Return a value as JSON that is safe inside a script element: no sign in it can end the element."""
    text = msgspec.json.encode(value).decode("utf-8")
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")


def page_data(diff: TimelineDiff) -> dict[str, Any]:
    """Return all that the page shows, as plain data; times in microseconds."""
    return {
        "a": diff.a_name,
        "b": diff.b_name,
        "headline": headline(diff),
        "colours": COLOURS,
        "phases": [_phase_data(phase) for phase in diff.phases],
        "counters": {"a": _counter_data(diff.a_counters), "b": _counter_data(diff.b_counters)},
        "notes": [{"message": n.message, "advice": n.advice, "level": str(n.level)} for n in diff.notes],
    }


def _phase_data(diff: PhaseDiff) -> dict[str, Any]:
    return {
        "name": diff.title,
        "a": _side_data(diff.a),
        "b": _side_data(diff.b),
        "a_row": diff.a_row.tolist(),
        "b_row": diff.b_row.tolist(),
        "ledgers": {by: [_line_data(line) for line in lines] for by, lines in diff.ledgers},
        "line_of": {by: lines.tolist() for by, lines in diff.line_of},
        "groupings": list(GROUPINGS),
        "side_by_side": SIDE_BY_SIDE,
        "residual": _micro(diff.residual_ns),
        "limits": {"a": _limits_data(diff.a_limits), "b": _limits_data(diff.b_limits)},
    }


def _side_data(step: TypicalStep) -> dict[str, Any]:
    kernels = step.kernels
    # What overlaps on a stream stands on lanes one below the other. Medians of starts and of durations need not add up,
    # so a tenth of a kernel is no overlap, and none is sought where the step has none.
    ends = kernels.start_ns + OVERLAP * kernels.duration_ns * (step.overlap_ns > 0)
    lane, lanes_of = tracks(kernels.stream, kernels.start_ns, ends, lanes)
    return {
        "wall": _micro(step.wall_ns),
        "busy": _micro(step.busy_ns),
        "steps": step.step_count,
        "sampled": step.sampled_step_count,
        "evidence": step.evidence,
        "time_of": step.time_of,
        "confidence": step.confidence,
        "start": [_micro(v) for v in kernels.start_ns.tolist()],
        "duration": [_micro(v) for v in kernels.duration_ns.tolist()],
        "gap": [_micro(v) for v in kernels.gap_ns.tolist()],
        "layer": kernels.layer.tolist(),
        "lane": lane.tolist(),
        "lanes": [stream for stream, _ in lanes_of],
        **_worded(kernels),
    }


def _worded(kernels: StepKernels) -> dict[str, Any]:
    """Return the columns of codes with only the words they use."""
    data: dict[str, Any] = {}
    for column, words in (
        ("name", kernels.names),
        ("category", kernels.categories),
        ("operator", kernels.operators),
        ("frame", kernels.frames),
        ("gap_cause", kernels.gap_causes),
    ):
        codes = getattr(kernels, column).tolist()
        used = {code: index for index, code in enumerate(dict.fromkeys(codes))}
        data[column] = [used[code] for code in codes]
        data[f"{column}s"] = [words[code] if 0 <= code < len(words) else "" for code in used]
    return data


def _line_data(line: Any) -> dict[str, Any]:
    return {
        "key": line.key,
        "counts": [line.a_count, line.b_count],
        "a": _micro(line.a_ns),
        "b": _micro(line.b_ns),
        "count": _micro(line.count_effect_ns),
        "duration": _micro(line.duration_effect_ns),
        "set": _micro(line.kernel_set_effect_ns),
        "gap": _micro(line.gap_effect_ns),
        "change": _micro(line.difference_ns),
        "low": None if line.low_ns is None else _micro(line.low_ns),
        "high": None if line.high_ns is None else _micro(line.high_ns),
        "verdict": line.finding,
        "ceiling": [
            None
            if limit is None
            else {
                "reached": limit.reached,
                "short": f"{at_least(limit)}{100 * limit.reached:.0f}",
                "text": f"floor {floor_text(limit)}, {reached_text(limit)}",
            }
            for limit in (line.a_limit, line.b_limit)
        ],
    }


def _limits_data(limits: StepLimits | None) -> dict[str, Any] | None:
    if limits is None:
        return None
    return {
        "floor": _micro(1e6 * limits.floor_ms),
        "time": _micro(1e6 * limits.time_ms),
        "gap": _micro(1e6 * limits.gap_ms),
        "bound": limits.bound,
        "mfu": limits.mfu,
        "mbu": limits.mbu,
        "owners": [[owner.name, _micro(1e6 * owner.gap_ms)] for owner in limits.owners],
        "source": limits.source,
    }


def _counter_data(counters: TraceCounters | None) -> list[dict[str, Any]]:
    """Return the power and clock tracks, thinned to what a screen shows."""
    if counters is None:
        return []
    tracks = []
    for code, name in enumerate(counters.names):
        rows = counters.name == code
        times, values = counters.time_ns[rows], counters.value[rows]
        if not _is_power_or_clock(name) or len(times) < 2:
            continue
        stride = math.ceil(len(times) / COUNTER_POINTS)
        tracks.append(
            {
                "name": name,
                "time": [_micro(v) for v in (times[::stride] - times[0]).tolist()],
                "value": [round(float(v), 3) for v in values[::stride].tolist()],
            }
        )
    return tracks


def _is_power_or_clock(name: str) -> bool:
    return any(word in name.lower() for word in ("power", "clock", "freq"))


def _micro(value_ns: float) -> float:
    return round(value_ns / 1e3, 3)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>tokprof compare</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<header>
  <div class="sides"><span class="tag a">A</span><span id="name-a"></span><span id="facts-a"></span>
    <span class="tag b">B</span><span id="name-b"></span><span id="facts-b"></span></div>
  <h1 id="headline"></h1>
  <nav id="phases" role="tablist" aria-label="Phase"></nav>
</header>
<main>
  <section aria-label="Where the difference comes from">
    <div class="bar"><h2>From A to B</h2><span class="hint" id="cut"></span></div>
    <div id="limits"></div>
    <div id="waterfall"></div>
  </section>
  <section aria-label="Time lines">
    <div class="bar"><h2>Kernels side by side</h2><div id="legend"></div>
      <span class="hint">scroll to zoom, drag to move, double-click for all</span></div>
    <canvas id="timeline" tabindex="0" role="img"
      aria-label="Kernels of A above those of B on one time scale; arrow keys move, plus and minus zoom,
 n and p go from kernel to kernel"></canvas>
    <div id="detail" aria-live="polite"></div>
  </section>
  <section id="counters" hidden aria-label="Power and clocks">
    <h2>Power and clocks over the whole recording</h2></section>
  <section aria-label="Ledger">
    <div class="bar"><h2>Ledger</h2><label>by <select id="by"></select></label>
      <span class="hint" id="residual"></span></div>
    <div class="scroll"><table id="ledger"><thead></thead><tbody></tbody><tfoot></tfoot></table></div>
  </section>
  <section id="notes" aria-label="Notes"></section>
</main>
<div id="tip" role="tooltip" hidden></div>
<script id="data" type="application/json">{data}</script>
<script>{script}</script>
</body>
</html>
"""
