"""Steps of a timeline: which device work belongs to which prefill or decode step."""

import re
from dataclasses import dataclass

import numpy as np

from tokprof.profiler.record import Array, EventKind, HostEvents, KernelEvents, Phase, Trace, codes_of
from tokprof.profiler.trace.categories import CATEGORIES, Rules, category_codes
from tokprof.profiler.trace.links import parents

STEP_LABEL = re.compile(r"tokprof\.(prefill|decode)#rep=(-?\d+)(?:,step=(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWindows:
    """The host's windows of our own named steps, in the order of time."""

    start_ns: Array
    end_ns: Array
    phase: Array
    repetition: Array
    step: Array

    def __len__(self) -> int:
        return len(self.start_ns)


def own_steps(trace: Trace) -> StepWindows:
    """Return the windows that tokprof named when it recorded the trace; none in anyone else's."""
    labels = {code: match for code, name in enumerate(trace.host.names) if (match := STEP_LABEL.fullmatch(name))}
    rows = np.flatnonzero(np.isin(trace.host.name, list(labels)) & (trace.host.kind == EventKind.ANNOTATION))
    found = [labels[int(code)] for code in trace.host.name[rows]]
    return StepWindows(
        start_ns=trace.host.start_ns[rows],
        end_ns=trace.host.end_ns[rows],
        phase=np.array([codes_of(Phase(match[1])) for match in found], dtype=np.int8),
        repetition=np.array([int(match[2]) for match in found], dtype=np.int32),
        step=np.array([int(match[3] or 0) for match in found], dtype=np.int32),
    )


def kernel_events(trace: Trace, table: Rules | None = None) -> KernelEvents:
    """Return what the device executed, each event with the step that launched it.

    An event belongs to the step in whose host window its launch lies, so work that runs after its step's end on the
    host still counts to it. In a trace without device work the host's computing operators play the kernels (see
    :func:`computing_operators`). Instants stay on the trace's clock.
    """
    device = trace.device.select(trace.device.kind <= EventKind.COLLECTIVE)
    return _from_device(trace, table) if len(device) else _from_operators(trace, table)


def _from_device(trace: Trace, table: Rules | None) -> KernelEvents:
    rows = np.flatnonzero(trace.device.kind <= EventKind.COLLECTIVE)
    device = trace.device.select(rows)
    launched = device.launch >= 0
    at_ns = np.where(launched, trace.host.start_ns[np.maximum(device.launch, 0)], device.start_ns)
    operators = np.where(device.operator >= 0, trace.host.name[np.maximum(device.operator, 0)] + 1, 0)
    return _assigned(
        trace,
        at_ns,
        name=device.name,
        names=device.names,
        category=category_codes(device.names, device.kind, device.name, table),
        operator=operators,
        stream=np.clip(device.stream, -1, 2**31 - 1),
        start_ns=device.start_ns,
        duration_ns=device.duration_ns,
    )


def _from_operators(trace: Trace, table: Rules | None) -> KernelEvents:
    rows = computing_operators(trace.host)
    host = trace.host.select(rows)
    return _assigned(
        trace,
        host.start_ns,
        name=host.name,
        names=host.names,
        category=category_codes(host.names, host.kind, host.name, table),
        operator=host.name + 1,
        stream=host.thread,
        start_ns=host.start_ns,
        duration_ns=host.duration_ns,
    )


# They change how memory is looked at, or ask for it; the computing is done by the operator that calls them.
_BOOKKEEPING = frozenset(
    f"aten::{name}"
    for name in (
        "alias", "as_strided", "broadcast_to", "chunk", "detach", "diagonal", "empty", "empty_like", "empty_strided",
        "expand", "expand_as", "flatten", "is_nonzero", "item", "lift_fresh", "movedim", "narrow", "new_empty",
        "numpy_T", "permute", "reshape", "_reshape_alias", "resize_", "resolve_conj", "resolve_neg", "result_type",
        "select", "set_", "slice", "split", "split_with_sizes", "squeeze", "swapaxes", "t", "transpose", "unbind",
        "unflatten", "unfold", "_unsafe_view", "unsqueeze", "view", "view_as", "_local_scalar_dense",
    )
)  # fmt: skip


def computing_operators(host: HostEvents) -> Array:
    """Return the rows of the innermost operators that compute, in the order of start.

    Operators that only change how memory is looked at, or ask for it, do not count: neither by themselves nor as the
    inside of another.
    """
    idle = np.array([name in _BOOKKEEPING for name in host.names] + [False])
    operators = np.flatnonzero((host.kind == EventKind.OPERATOR) & ~idle[host.name])
    innermost = []
    for thread in np.unique(host.thread[operators]):
        rows = operators[host.thread[operators] == thread]
        parent = parents(host.start_ns[rows], host.end_ns[rows])
        is_parent = np.zeros(len(rows), dtype=bool)
        is_parent[parent[parent >= 0]] = True
        innermost.append(rows[~is_parent])
    return np.sort(np.concatenate(innermost)) if innermost else np.array([], dtype=np.int64)


def _assigned(trace: Trace, at_ns: Array, *, name: Array, names: tuple[str, ...], **columns: Array) -> KernelEvents:
    """Give each event the step whose host window holds the instant ``at_ns``."""
    windows = own_steps(trace)
    repetition = np.full(len(at_ns), -1, dtype=np.int32)
    phase = np.full(len(at_ns), -1, dtype=np.int8)
    step = np.full(len(at_ns), -1, dtype=np.int32)
    if len(windows):
        at = np.searchsorted(windows.start_ns, at_ns, side="right") - 1
        inside = (at >= 0) & (at_ns < windows.end_ns[np.maximum(at, 0)])
        repetition[inside] = windows.repetition[at[inside]]
        phase[inside] = windows.phase[at[inside]]
        step[inside] = windows.step[at[inside]]
    return KernelEvents(
        name=name,
        repetition=repetition,
        phase=phase,
        step=step,
        names=names,
        categories=CATEGORIES,
        operators=("", *trace.host.names),
        **columns,
    )
