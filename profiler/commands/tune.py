"""``tokprof tune``: fine-tune a model, a control on other data, or change it by as much without learning."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprof.profiler.commands.profile import DTYPES, Weights
from tokprof.profiler.errors import InputError, Interrupted, OutputError, visible, writing

if TYPE_CHECKING:
    from tokprof.models.tuning import TuneRecord, TuneSpec


class Method(StrEnum):
    """What is trained."""

    LORA = "lora"
    FULL = "full"


def tune(
    base: Annotated[str, typer.Argument(help="Zoo name (`tokprof models`), hub id, local folder or .gguf file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    data: Annotated[
        str, typer.Option(help="cwe or general (they come with tokprof), a .jsonl file or a folder of source files.")
    ] = "cwe",
    control: Annotated[
        str | None, typer.Option(help="Tune once more, alike but on this data (general, ...), into OUT-control.")
    ] = None,
    placebo: Annotated[
        Path | None, typer.Option(help="Train nothing: change the base at random by as much as this result did.")
    ] = None,
    method: Annotated[Method, typer.Option(help="Low-rank factors beside the weights, or every weight.")] = Method.LORA,
    rank: Annotated[int, typer.Option(help="Of the factors.")] = 16,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write a whole model, with the adapter kept apart inside it.")
    ] = False,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 40,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest; default 2e-4, in full 2e-5.")] = None,
    batch: Annotated[int, typer.Option(help="Sequences of a step.")] = 4,
    length: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 256,
    dtype: Annotated[str, typer.Option(help=f"Of the base: {', '.join(DTYPES)}. Adapters train in float32.")] = (
        "float32"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")] = "auto",
    weights: Annotated[Weights, typer.Option(help="Random ones: those that `tokprof profile` makes with seed 0.")] = (
        Weights.REAL
    ),
    seed: Annotated[int, typer.Option(help="Of the adapter's first values, the data's order, and a placebo.")] = 0,
    threads: Annotated[int | None, typer.Option(help="torch's threads on a CPU.", min=1)] = None,
    checkpoint_steps: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 10,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from OUT.checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing result, or checkpoint.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Fine-tune a model by LoRA or in full; the same seed, threads and machine give the same bytes."""
    from tokprof.models.tuning import TuneSpec, check_tuning
    from tokprof.models.tuning_data import read_texts

    if placebo is not None and (control is not None or resume or merge or method is Method.FULL):
        raise InputError("--placebo takes its form from the result it names; leave out --control, --resume, --merge")
    if placebo is not None and not placebo.is_dir():
        raise InputError(f"--placebo {placebo}: no such folder; name the folder of a tuned result")
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: unknown; choose one of {', '.join(DTYPES)}")
    spec = TuneSpec(
        model=base,
        weights=weights,
        data=data,
        method=method,
        rank=rank,
        steps=steps,
        learning_rate=learning_rate,
        batch=batch,
        length=length,
        seed=seed,
        merge=merge,
        dtype=dtype,
    )
    jobs = [(spec, out)]
    if control is not None:
        jobs.append((replace(spec, data=control), out.with_name(f"{out.name}-control")))
    with _model_errors():
        check_tuning(spec)
        for one, _ in jobs:
            read_texts(one.data)
    if out.name in ("", ".."):
        raise InputError(f"--out {out}: names no new folder")
    todo = [job for job in jobs if not _refused(*job, resume=resume, force=force)]
    if resume and len(todo) == len(jobs) and not any(_checkpoint_of(place).exists() for _, place in jobs):
        raise InputError(f"--resume: there is no unfinished run ({_checkpoint_of(out)}); leave --resume out to begin")
    device = _device(device)
    records = []
    for one, place in jobs:
        if (one, place) in todo:
            one = replace(one, device=device)
            try:
                records.append(_tuned(one, place, placebo, threads, checkpoint_steps, resume=resume, force=force))
            except Interrupted as error:
                if not records:
                    raise
                done = f"{out} is finished; the same command with --resume makes what is missing"
                raise Interrupted(f"{error}; {done}") from error
        else:
            print(f"tokprof: {visible(place)} is finished already", file=sys.stderr)
    if as_json:
        import json

        typer.echo(json.dumps([asdict(record) for record in records], indent=2))
        return
    for record, (_, place) in zip(records, todo, strict=True):
        _print(record, place, base)


def _checkpoint_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint")


def _refused(spec: "TuneSpec", out: Path, *, resume: bool, force: bool) -> bool:
    """Say whether a result is finished already; refuse what would overwrite something, before anything is loaded."""
    from tokprof.models.tuning import is_result_of, read_record
    from tokprof.profiler.store import refuse_existing

    checkpoint = _checkpoint_of(out)
    if resume and out.is_dir():
        with _model_errors():
            record = read_record(out)
            if record is not None and is_result_of(record, spec):
                return True
        raise InputError(f"--resume: {out} is finished, and not what is asked for now; choose another --out")
    refuse_existing(out, force=force)
    if checkpoint.exists() and not resume and not force:
        raise OutputError(f"{checkpoint} is of an unfinished run; go on with --resume, or begin again with --force")
    return False


def _tuned(
    spec: "TuneSpec",
    out: Path,
    like: Path | None,
    threads: int | None,
    checkpoint_steps: int,
    *,
    resume: bool,
    force: bool,
) -> "TuneRecord":
    from tokprof.models import tuning
    from tokprof.profiler.measure.loop import on_interrupt
    from tokprof.profiler.store import new_folder

    checkpoint = _checkpoint_of(out)
    resume = resume and checkpoint.exists()
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    training = False
    asked = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked or not training:
            raise KeyboardInterrupt
        asked = True
        print("tokprof: finishing this step; Ctrl-C again drops it", file=sys.stderr)

    with _progress(spec, out) as show:

        def report(stage: str, done: int, total: int | None, loss: float | None) -> None:
            nonlocal training
            training = stage == "training"
            show(stage, done, total, loss)

        try:
            with new_folder(out, force=force) as folder, writing(out), _model_errors(), on_interrupt(interrupt):
                if like is not None:
                    return tuning.placebo(spec, like, folder, report=report)
                record = tuning.tune(
                    spec,
                    folder,
                    checkpoint,
                    resume=resume,
                    checkpoint_steps=checkpoint_steps,
                    report=report,
                    stopped=lambda: asked,
                )
        except tuning.Stopped as error:
            raise Interrupted(
                f"interrupted after step {error.step} of {spec.steps}; it is kept in {checkpoint}, and the same "
                "command with --resume goes on"
            ) from error
        except KeyboardInterrupt as error:
            kept = f"{checkpoint} is kept, and the same command with --resume goes on from it"
            raise Interrupted(
                f"interrupted; {kept if checkpoint.exists() else f'nothing of {out} was kept'}"
            ) from error
    checkpoint.unlink(missing_ok=True)
    return record


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return wanted
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not wanted.startswith("cuda"):
        raise InputError(f"--device {wanted}: unknown; choose cpu, cuda, cuda:1, ... or auto")
    if not torch.cuda.is_available():
        raise InputError(f"--device {wanted}: torch sees no such device; choose cpu")
    return wanted


@contextmanager
def _model_errors() -> Iterator[None]:
    from tokprof.models.errors import ModelError

    try:
        yield
    except ModelError as error:
        raise InputError(str(error)) from error


@contextmanager
def _progress(spec: "TuneSpec", out: Path) -> Iterator[Callable[[str, int, int | None, float | None], None]]:
    """Show stage, steps and loss: a bar on a terminal, else a line now and then."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from tokprof.profiler.report.terminal import open_console

    words = {
        "loading": f"loading {spec.model}",
        "loss before": "the loss before",
        "training": "training",
        "loss after": "the loss after",
        "drawing": "drawing at random",
        "writing": f"writing {out}",
    }
    console = open_console(stderr=True)
    columns: tuple[Any, ...] = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # names of models and folders are in it
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    terminal = console.is_terminal
    with Progress(*columns, console=console, transient=True, refresh_per_second=1, disable=not terminal) as progress:
        task = progress.add_task("starting", total=None)

        def show(stage: str, done: int, total: int | None, loss: float | None) -> None:
            of = " of its batch" if stage == "training" else ""  # the loss before and after is of other sequences
            text = visible(words[stage]) + ("" if loss is None else f", loss{of} {loss:.4f}")
            progress.update(task, description=text, completed=done, total=total)
            step = max(1, spec.steps // 10)
            if not terminal and (stage != "training" or done % step == 0):
                print(f"tokprof: {text}" + (f" at step {done} of {total}" if total else ""), file=sys.stderr)

        yield show


def _print(record: "TuneRecord", out: Path, base: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from tokprof.profiler.report.terminal import open_console

    console = open_console()
    what = {"adapter": "a LoRA adapter", "merged": "a merged model", "full": "a model"}[record.form]
    kind = "placebo, nothing learned" if record.placebo_of is not None else f"tuned on {record.data['name']}"
    dtypes = record.dtype if record.adapter_dtype is None else f"{record.dtype}, adapter in {record.adapter_dtype}"
    console.print(Text(f"{out}: {what} of {record.base['name']}, {kind} ({dtypes})"), soft_wrap=True)
    first = f"loss {record.loss_before:.4f} before, {record.loss_after:.4f} after, nats per token of the data itself"
    console.print(Text(first), soft_wrap=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layers")
    for name in ("tensors", "change", "of base"):
        table.add_column(name, justify="right")
    for kind, change in record.changes.items():
        share = f"{change.norm / change.base_norm:.4%}" if change.base_norm else "-"
        table.add_row(kind, str(change.tensor_count), f"{change.norm:.4g}", share)
    console.print(table)
    if not record.tokenizer_written and record.form != "adapter":
        console.print(Text("no tokenizer.json: this tokenizer cannot be written as one"), soft_wrap=True)
    way = f"{base} --adapter {out}" if record.form == "adapter" else str(out)
    console.print(Text(f"tokprof profile {way}"), soft_wrap=True)
