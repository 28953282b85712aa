"""``tokprof fertility``: what the same work costs in tokens, by language and tokenizer."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokprof.profiler.errors import InputError, check_new_file, visible

if TYPE_CHECKING:
    from tokprof.models.pull import Progress
    from tokprof.models.tokenizers import Tokenizer

DEFAULT_PIVOT = "python"
DEFAULT_TOKENIZERS = ("codestral", "starcoder")


class Lexer(StrEnum):
    """What counts lexemes."""

    UNIVERSAL = "universal"
    PYGMENTS = "pygments"


def fertility(
    corpus: Annotated[
        str | None,
        typer.Argument(
            help="A folder laid out task/language, Exercism tracks, a .jsonl file of {text, language, task?} or a data "
            "set id of the hub, owner/name; default: the corpus that comes with tokprof."
        ),
    ] = None,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            "--tokenizer",
            "-t",
            help="A tokenizer's name, a model of the zoo, a model's folder or a .gguf file; repeat it to set several "
            f"side by side. Default: {' and '.join(DEFAULT_TOKENIZERS)}.",
        ),
    ] = None,
    languages: Annotated[str | None, typer.Option(help="Only these languages, parted by commas.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, parted by commas.")] = None,
    pivot: Annotated[str, typer.Option(help="The language that others are compared with.")] = DEFAULT_PIVOT,
    lexer: Annotated[
        Lexer, typer.Option(help="One lexer for all, or that of each language from Pygments.")
    ] = Lexer.UNIVERSAL,
    html: Annotated[Path | None, typer.Option(help="Where to write a page with the picture.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as data.")] = False,
) -> None:
    """Count what the same tasks cost in tokens: fertility by language, split into verbosity and premium."""
    if html is not None:
        check_new_file(html, "--html", force=force)
    from tokprof.models.corpora import load_corpus
    from tokprof.models.languages import language_key
    from tokprof.profiler.analysis.fertility import fertility as measure
    from tokprof.profiler.analysis.fertility import headlines
    from tokprof.profiler.commands.models import download_progress, model_errors

    chosen = language_key(pivot) or pivot.lower()
    wanted = None if languages is None else [*_words(languages, "--languages"), chosen]
    with model_errors(), download_progress() as bar:
        content = load_corpus(corpus, languages=wanted, tasks=None if tasks is None else _words(tasks, "--tasks"))
        if pivot != DEFAULT_PIVOT and chosen not in content.languages:
            there = ", ".join(content.languages)
            raise InputError(f"--pivot {pivot}: {content.name} has nothing in that language; it has {there}")
        tokenizers: dict[str, Tokenizer] = {}
        for name in tokenizer or DEFAULT_TOKENIZERS:
            found = _tokenizer(name, bar(f"{name} tokenizer"))
            tokenizers.setdefault(found.name, found)
        report = measure(content, list(tokenizers.values()), chosen, lexer=lexer.value, progress=bar("counting tokens"))
    if html is not None:
        from tokprof.profiler.report.fertility_html import write_fertility_page

        write_fertility_page(report, html)
    if as_json:
        import msgspec

        data = {"headlines": headlines(report), **msgspec.to_builtins(report)}
        typer.echo(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())
    else:
        from tokprof.profiler.report.fertility_text import print_fertility
        from tokprof.profiler.report.terminal import open_console

        print_fertility(report, open_console())
        if html is not None:
            typer.echo(f"\nas a picture: {visible(html)}")


def _words(listed: str, option: str) -> list[str]:
    words = [word.strip() for word in listed.split(",") if word.strip()]
    if not words:
        raise InputError(f"{option} {listed!r} names nothing; part names by commas")
    return words


def _tokenizer(name: str, progress: "Progress") -> "Tokenizer":
    """Return a tokenizer by its own name, that of a model of the zoo, a model's folder or a .gguf file."""
    from tokprof.models.tokenizers import VOCABULARIES, tokenizer_of, tokenizer_of_folder, tokenizer_of_gguf
    from tokprof.models.zoo import find, near_names

    place, model = Path(name), find(name)
    found: Tokenizer | None
    if name.lower() in VOCABULARIES:
        return tokenizer_of(name.lower(), progress)
    if model is not None:
        if model.tokenizer is None:
            raise InputError(f"{model.name}: no tokenizer of it is known; known are {', '.join(VOCABULARIES)}")
        return tokenizer_of(model.tokenizer, progress)
    if place.is_dir():
        found = tokenizer_of_folder(place)
        if found is None:
            raise InputError(f"{name}: this folder holds no tokenizer.json")
    elif place.is_file():
        found = tokenizer_of_gguf(place)
    else:
        known = ", ".join(VOCABULARIES)
        raise InputError(f"{name!r} is no tokenizer ({known}), folder or .gguf file, nor a model{near_names(name)}")
    found.name = name
    return found
