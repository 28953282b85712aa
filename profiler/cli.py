"""The command line: wires the commands and turns errors into exit codes; it computes nothing."""

import os
import signal
import sys
from inspect import cleandoc
from typing import Annotated, Any

import typer

from tokprof.profiler.commands.analyze import analyze, compare
from tokprof.profiler.commands.attribute import attribute
from tokprof.profiler.commands.calibrate import calibrate
from tokprof.profiler.commands.env import env
from tokprof.profiler.commands.fertility import fertility
from tokprof.profiler.commands.kernels import kernels
from tokprof.profiler.commands.limits import limits
from tokprof.profiler.commands.models import app as models
from tokprof.profiler.commands.open import open_
from tokprof.profiler.commands.profile import profile, show
from tokprof.profiler.commands.tune import tune
from tokprof.profiler.errors import Interrupted, TokprofError, visible

app = typer.Typer(
    name="tokprof",
    help="Why is this model's tokens per second different? Profiles prefill and decode apart, kernel by kernel.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_UsageError: Any = typer.BadParameter.__mro__[1]  # where typer keeps the class itself differs between its versions


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tokprof {version('tokprof')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def _wrapped(docstring: str | None) -> str:
    """Return a docstring whose paragraphs the terminal wraps, not the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in cleandoc(docstring or "").split("\n\n"))


for _command in (
    profile, show, analyze, compare, attribute, tune, fertility, calibrate, limits, kernels, env, open_,
):  # fmt: skip
    app.command(_command.__name__.rstrip("_"), help=_wrapped(_command.__doc__))(_command)
app.add_typer(models, name="models")


def main() -> None:
    """Run the command line; the exit code is 0, 2 for a user's mistake, or 130 after Ctrl-C."""
    try:
        code = app(standalone_mode=False)
        if code == Interrupted.exit_code:
            raise KeyboardInterrupt
        sys.exit(code or 0)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            words = visible(" ".join(error.format_message().split())).rstrip(".")
            path = error.ctx.command_path if error.ctx is not None else "tokprof"
            print(f"tokprof: {words}; see `{path} --help`", file=sys.stderr)
        sys.exit(error.exit_code)
    except TokprofError as error:
        if isinstance(error, Interrupted):
            _ignore_ctrl_c()
        print(f"tokprof: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _ignore_ctrl_c()
        print("tokprof: interrupted", file=sys.stderr)
        sys.exit(Interrupted.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`tokprof show ... | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _ignore_ctrl_c() -> None:
    """Let a second Ctrl-C not break into the interpreter's end, which would turn 130 into death by the signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
