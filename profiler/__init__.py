"""tokprof: why is this model's tokens per second different?

The public names. They load on first use, so that importing this package costs nothing.

>>> from tokprof.profiler import load_runs, summarize
>>> summary = summarize(load_runs(Path("runs/first-profile")))

>>> from tokprof.profiler import compare, headline, read_trace
>>> print(headline(compare(read_trace(Path("a.json")), read_trace(Path("b.json.gz")))))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokprof.profiler.analysis.compare import compare, headline
    from tokprof.profiler.analysis.summary import Summary, summarize
    from tokprof.profiler.errors import TokprofError
    from tokprof.profiler.measure.request import Request
    from tokprof.profiler.measure.stopping import StopLimits
    from tokprof.profiler.measure.supervisor import profile
    from tokprof.profiler.record import Phase, Run, TimelineDiff, Trace
    from tokprof.profiler.store import load_runs
    from tokprof.profiler.trace.reader import read_trace

_HOME = {
    "Phase": "record",
    "Request": "measure.request",
    "Run": "record",
    "StopLimits": "measure.stopping",
    "Summary": "analysis.summary",
    "TimelineDiff": "record",
    "TokprofError": "errors",
    "Trace": "record",
    "compare": "analysis.compare",
    "headline": "analysis.compare",
    "load_runs": "store",
    "profile": "measure.supervisor",
    "read_trace": "trace.reader",
    "summarize": "analysis.summary",
}

__all__ = [
    "Phase",
    "Request",
    "Run",
    "StopLimits",
    "Summary",
    "TimelineDiff",
    "TokprofError",
    "Trace",
    "compare",
    "headline",
    "load_runs",
    "profile",
    "read_trace",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"tokprof.profiler has no public name {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return getattr(import_module(f"tokprof.profiler.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
