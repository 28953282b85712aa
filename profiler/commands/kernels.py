"""``tokprof kernels``: the Triton kernels at a model's shapes, what they compile to, and on a GPU how fast they are."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprof.profiler.errors import InputError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console

    from tokprof.kernels.benchmark import Measured, Timing
    from tokprof.kernels.catalogue import Case
    from tokprof.kernels.launch import Launch, Resources

CAPABILITIES = (80, 90, 100)  # A100, H100, B200
_MODELS = ("Codestral-22B-v0.1", "StarCoder")
_CONTEXTS = (2048, 8192, 32768)


class Dtype(StrEnum):
    """What weights and activations are."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


def kernels(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help=f"Zoo name whose shapes to take; default {' and '.join(_MODELS)}."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Only kernels whose name holds this: attention, LoRA, int8, ...")
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Sequences side by side; default 1 and 32.", min=1)] = None,
    context: Annotated[
        list[int] | None,
        typer.Option(help="Tokens in the cache; default 2048, 8192 and 32768, as far as the model takes them.", min=1),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Of weights and activations.")] = Dtype.BFLOAT16,
    samples: Annotated[int, typer.Option(help="Samples of each time.", min=5)] = 40,
    resources: Annotated[
        bool, typer.Option("--resources", help="Compile for sm_80, sm_90 and sm_100 instead; needs no GPU.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only list, even where there is a GPU.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as data, with every sample.")] = False,
) -> None:
    """List the Triton kernels and benchmark them on a GPU: beside the library and the device's measured bandwidth."""
    try:
        import torch
        import triton  # noqa: F401 - whether it is there
    except ImportError as error:
        raise InputError(f"tokprof kernels: {error}; pip install 'tokprof[measure,triton]'") from error

    from tokprof.profiler.report.terminal import open_console

    kind = getattr(torch, dtype)
    chosen = list(_chosen(model or _MODELS, only, batch or (1, 32), context))
    if resources:
        _resources(chosen, kind, as_json=as_json)
    elif list_ or not torch.cuda.is_available():
        _list(chosen, kind, as_json=as_json)
        if not list_:
            words = "torch sees no CUDA device here, so nothing was timed; --resources compiles them without one"
            open_console(stderr=True).print(words, style="yellow", soft_wrap=True)
    else:
        _benchmark(chosen, kind, samples, as_json=as_json)


def _chosen(
    models: "Iterable[str]", only: str | None, batches: "Sequence[int]", contexts: "Sequence[int] | None"
) -> "Iterator[Case]":
    from tokprof.kernels.catalogue import attended_count, cases
    from tokprof.models.cost import shape_of
    from tokprof.models.zoo import entry
    from tokprof.profiler.commands.models import model_errors

    with model_errors():
        known = {one.name: shape_of(one.config) for one in map(entry, models)}
    most = {name: attended_count(shape) for name, shape in known.items() if not shape.is_state_space}
    if most and not any(shape.kv_head_count == 1 for shape in known.values()):
        for context in contexts or ():
            if context > max(most.values()):
                taken = ", ".join(f"{name} to {count:,}" for name, count in most.items())
                raise InputError(f"--context {context}: no model attends to so many tokens: {taken}")
    found, names = False, dict[str, None]()
    for name, shape in known.items():
        longest = most.get(name, 0)
        wanted = contexts or (_CONTEXTS if longest >= min(_CONTEXTS) else (longest,))
        for case in cases(shape, name, batches=batches, contexts=wanted):
            names[case.kernel] = None
            if only is None or only.lower() in case.kernel.lower():
                found = True
                yield case
    if not found:
        raise InputError(f"--only {only}: no kernel of that name; choose from {', '.join(map(repr, names))}")


# -------------------------------------------------------------------------------------------------------------- listing


def _list(chosen: "Sequence[Case]", dtype: Any, *, as_json: bool) -> None:
    facts: list[dict[str, Any]] = []
    for case in chosen:
        cost = case.cost(dtype)
        names = [launch.name for launch in case.launches(dtype)]
        facts.append(
            {
                "kernel": case.kernel,
                "model": case.model,
                "shape": case.shape,
                "byte_count": cost.bytes,
                "flop_count": cost.flops,
                "launches": names,
                "library": case.library,
            }
        )
    if as_json:
        _print_json(facts)
        return
    from tokprof.profiler.report.text import quantity

    table = _table("kernel", "model", "shape", "MB >", "FLOP/B >", "launches", "library")
    for fact in facts:
        table.add_row(
            fact["kernel"],
            fact["model"],
            fact["shape"],
            quantity(fact["byte_count"] / 1e6),
            f"{fact['flop_count'] / fact['byte_count']:.2f}",
            ", ".join(fact["launches"]),
            fact["library"],
        )
    _console().print(table)


def compiled(
    chosen: "Sequence[Case]", dtype: Any, capabilities: "Sequence[int]" = CAPABILITIES
) -> "Iterator[tuple[Launch, Case, int, Resources]]":
    """Compile each distinct launch of the cases for each capability, in the order of the cases."""
    from tokprof.kernels.launch import compiled_resources

    first: dict[Launch, Case] = {}
    for case in chosen:
        for launch in case.launches(dtype):
            first.setdefault(launch, case)
    for launch, case in first.items():
        for capability in capabilities:
            yield launch, case, capability, compiled_resources(launch, capability)


def _resources(chosen: "Sequence[Case]", dtype: Any, *, as_json: bool) -> None:
    from tokprof.kernels.launch import KernelError

    facts: list[dict[str, Any]] = []
    spilling: set[str] = set()
    try:
        for launch, case, capability, found in _tracked(compiled(chosen, dtype), "compiling"):
            constants = ", ".join(f"{name}={value}" for name, value in launch.constants if name.isupper())
            facts.append(
                {
                    "launch": launch.name,
                    "constants": constants,
                    "kernel": case.kernel,
                    "model": case.model,
                    "shape": case.shape,
                    "target": f"sm_{capability}",
                    "warp_count": launch.num_warps,
                    "register_count": found.register_count,
                    "shared_bytes": found.shared_bytes,
                    "spill_bytes": found.spill_bytes,
                }
            )
            if found.spill_bytes:
                spilling.add(launch.name)
    except KernelError as error:
        raise InputError(f"--resources: {error}") from error
    if as_json:
        _print_json(facts)
    else:
        table = _table(
            "launch", "constants", "first for", "target", "warps >", "registers >", "shared B >", "spilled B >"
        )
        for fact in facts:
            table.add_row(
                fact["launch"],
                fact["constants"],
                fact["kernel"],
                fact["target"],
                str(fact["warp_count"]),
                str(fact["register_count"]),
                f"{fact['shared_bytes']:,}",
                str(fact["spill_bytes"]),
                style="red" if fact["spill_bytes"] else None,
            )
        _console().print(table)
    if spilling:
        raise MeasurementError(f"registers are spilled to memory by {', '.join(sorted(spilling))}")


# ----------------------------------------------------------------------------------------------------------- measuring


def _benchmark(chosen: "Sequence[Case]", dtype: Any, sample_count: int, *, as_json: bool) -> None:
    import torch

    from tokprof.kernels.benchmark import measure
    from tokprof.profiler.analysis.roofline import ceiling_of
    from tokprof.profiler.commands.calibrate import kept_calibration
    from tokprof.profiler.environment import environment

    device = environment("cuda").device
    calibration = kept_calibration(device)
    ceiling = None if calibration is None else ceiling_of(calibration).bandwidth_bytes_per_s
    results: list[Measured | tuple[Case, str]] = []
    failed, interrupted = False, False
    for case in _tracked(chosen, "measuring"):
        try:
            with torch.inference_mode():
                result = measure(case, dtype, sample_count)
            torch.cuda.synchronize()  # an error of its launches may come late, and is its own
            torch.cuda.empty_cache()
            results.append(result)
        except KeyboardInterrupt:
            interrupted = True  # what was measured is printed first
            break
        except torch.OutOfMemoryError:
            results.append((case, "out of memory"))  # the others still fit
            torch.cuda.empty_cache()
        except Exception as error:  # whatever a compiler or the driver raises costs this case alone
            failed = True
            results.append((case, (str(error).strip() or type(error).__name__).splitlines()[0][:200]))
    if as_json:
        _print_json(
            {
                "device": device.name,
                "driver": device.driver,
                "dtype": str(dtype).removeprefix("torch."),
                "bandwidth_ceiling_bytes_per_s": ceiling,
                "cases": [_facts(result) for result in results],
            }
        )
    else:
        _print_results(results, device.name, ceiling)
    wrong = [r for r in results if not isinstance(r, tuple) and r.kernel is None]
    if wrong:
        words = "; ".join(f"{r.case.kernel} ({r.case.shape}) by {r.difference:.1e}" for r in wrong)
        raise MeasurementError(f"wrong results, which were not timed: {words}")
    if interrupted:
        raise KeyboardInterrupt
    if failed:
        raise MeasurementError("some cases failed, as is said beside them")


def _facts(result: "Measured | tuple[Case, str]") -> dict[str, Any]:
    case = result[0] if isinstance(result, tuple) else result.case
    facts: dict[str, Any] = {"kernel": case.kernel, "model": case.model, "shape": case.shape, "library": case.library}
    if isinstance(result, tuple):
        return {**facts, "failure": result[1]}
    return {
        **facts,
        "byte_count": result.cost.bytes,
        "flop_count": result.cost.flops,
        "difference": result.difference,
        "allowed_difference": result.allowed_difference,
        "kernel_time": result.kernel,
        "library_time": result.library,
    }


def _print_results(results: "Sequence[Measured | tuple[Case, str]]", device: str, ceiling: float | None) -> None:
    from rich.text import Text

    from tokprof.kernels.benchmark import median_interval

    console = _console()
    console.print(
        Text(f"{device}; medians in µs with their 95 % interval within this process; the library's over ours")
    )
    table = _table(
        "kernel",
        "model",
        "shape",
        "cold >",
        "interval >",
        "GB/s >",
        "of ceiling >",
        "library >",
        "warm >",
        "library > ",
    )

    def ratio(kernel: "Sequence[float]", library: "Sequence[float]") -> str:
        if not kernel or not library:
            return "host too late"
        return f"×{median_interval(library)[0] / median_interval(kernel)[0]:.2f}"

    for result in results:
        if isinstance(result, tuple):
            table.add_row(result[0].kernel, result[0].model, result[0].shape, result[1], style="yellow")
            continue
        case = result.case
        if result.kernel is None or result.library is None:
            words = f"wrong by {result.difference:.1e}"
            table.add_row(case.kernel, case.model, case.shape, words, style="red")
            continue
        ours, theirs = result.kernel, result.library
        cold, rate = _cold_words(ours, result.cost.bytes)
        table.add_row(
            case.kernel,
            case.model,
            case.shape,
            *cold,
            "" if rate is None else f"{rate / 1e9:,.0f}",
            "" if rate is None or ceiling is None else f"{rate / ceiling:.0%}",
            ratio(ours.cold_ns, theirs.cold_ns),
            f"{median_interval(ours.warm_ns)[0] / 1e3:.2f}" if ours.warm_ns else "host too late",
            ratio(ours.warm_ns, theirs.warm_ns),
        )
    console.print(table)
    if ceiling is None:
        words = "no ceiling: this device with this driver is not calibrated; `tokprof calibrate` takes a minute"
    else:
        words = f"the ceiling is the {ceiling / 1e9:,.0f} GB/s that `tokprof calibrate` measured on this device"
    console.print(words, style="dim", soft_wrap=True)


def _cold_words(timing: "Timing", byte_count: int) -> tuple[tuple[str, str], float | None]:
    """Return the median and its interval in words, and the bytes per second of the median."""
    from tokprof.kernels.benchmark import median_interval

    if not timing.cold_ns:
        return ("host too late", ""), None
    middle, low, high = median_interval(timing.cold_ns)
    return (f"{middle / 1e3:.2f}", f"{low / 1e3:.2f} – {high / 1e3:.2f}"), byte_count / middle * 1e9


# ------------------------------------------------------------------------------------------------------------- printing


def _tracked(items: "Iterable[Any]", words: str) -> "Iterable[Any]":
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from tokprof.profiler.report.terminal import open_console

    console = open_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, description=words)


def _console() -> "Console":
    from tokprof.profiler.report.terminal import open_console

    return open_console()


def _table(*columns: str) -> Any:
    """Return a table; a heading that ends in ">" is that of numbers."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        number = name.rstrip().endswith(">")
        table.add_column(name.rstrip(" >"), justify="right" if number else "left", no_wrap=number, overflow="fold")
    return table


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
