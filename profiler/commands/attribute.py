"""``tokprof attribute``: run the experiment, or analyse a recorded one, and say why two models differ."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprof.profiler.commands.profile import Weights, check_model, default_folder
from tokprof.profiler.errors import InputError, Interrupted, MeasurementError, TokprofError, misfit

if TYPE_CHECKING:
    from tokprof.models.corpora import Item
    from tokprof.profiler.analysis.study import StudyReport
    from tokprof.profiler.analysis.study_parts import IdentityLine
    from tokprof.profiler.measure.study import StudyProgress
    from tokprof.profiler.record import TimelineDiff
    from tokprof.profiler.report.study_text import Outlook
    from tokprof.profiler.studies import Arm, Exposure, Plan, StudyLanguage
    from tokprof.profiler.study_samples import Study

DEFAULT_LANGUAGES_PER_CLASS = 8
STAND_IN = "starcoder"  # whose list of languages stands in for one that was never published
# For the guess of a study's length and of what it can find, before anything is measured.
BETWEEN_SD, WITHIN_SD = 0.003, 0.02  # of log differences between processes, and of one block
CPU_BYTES_PER_S, GPU_BYTES_PER_S = 15e9, 1.5e12
START_S, LOAD_FACTOR = 12.0, 40.0  # of a process; of an arm, in decode steps
PIVOT = "python"
QUIET_S = 30.0  # at least, between two lines of progress where the output is no terminal


def attribute(
    context: typer.Context,
    base: Annotated[str | None, typer.Option(help="The model that the others are held against.")] = None,
    tuned: Annotated[
        str | None, typer.Option(help="The other model: another one, or the base fine-tuned and merged.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="A PEFT adapter on the base, kept apart (unmerged).")] = None,
    control: Annotated[str | None, typer.Option(help="The base fine-tuned on general code.")] = None,
    placebo: Annotated[
        str | None, typer.Option(help="The base changed by as much, without learning (`tokprof tune --placebo`).")
    ] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Analyse this recorded study; measure nothing.")] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Folder, JSONL, Exercism checkout or data set id; default tokprof's own corpus.")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Names with commas between; default 8 seen and 8 unseen ones.")
    ] = None,
    seen: Annotated[str | None, typer.Option(help="Languages to count as seen, where you know better.")] = None,
    unseen: Annotated[str | None, typer.Option(help="Languages to count as unseen.")] = None,
    family: Annotated[
        str | None, typer.Option(help="Whose training list tells seen from unseen; default by the base's name.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-P", help="Fresh processes, the unit of intervals.", min=1)
    ] = 5,
    blocks: Annotated[
        int, typer.Option("--blocks", "-N", help="Blocks (one text, every arm) per language and process.", min=1)
    ] = 1,
    margin: Annotated[
        str, typer.Option(help="Within which a difference counts as none: 1%, or 0.01. Set before the run.")
    ] = "1%",
    prompt_share: Annotated[float, typer.Option(help="Part of each text that is read.", min=0.01, max=0.95)] = 0.2,
    content_share: Annotated[
        float, typer.Option(help="Part of each text, after that, that is decoded.", min=0.01, max=0.99)
    ] = 0.06,
    natural: Annotated[int, typer.Option(help="New tokens of the natural arm, at most; 0 leaves it out.", min=0)] = 32,
    trace_steps: Annotated[int, typer.Option(help="Decode steps of each arm's kernel pass; 0: none.", min=0)] = 8,
    swap: Annotated[
        bool, typer.Option("--swap", help="Let base and tuned also read each other's tokens: fertility by measurement.")
    ] = False,
    apart: Annotated[
        bool, typer.Option("--apart", help="One process per arm, for models that do not fit side by side.")
    ] = False,
    batch: Annotated[int, typer.Option(help="Sequences side by side.", min=1)] = 1,
    dtype: Annotated[str | None, typer.Option(help="float32 on a CPU else bfloat16.")] = None,
    attention: Annotated[str, typer.Option(help="sdpa, eager, flash_attention_2 or _3, or flex_attention.")] = "sdpa",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ... or auto.")] = "auto",
    weights: Annotated[Weights, typer.Option(help="Of base and tuned: random ones need no download.")] = Weights.REAL,
    threads: Annotated[int | None, typer.Option(help="torch's threads on a CPU.", min=1)] = None,
    explained: Annotated[
        list[str] | None, typer.Option(help="A key of the fingerprint in which the arms may differ.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order of everything.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the study; default runs/MODEL-TIME.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in --out.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Print the plan and stop; with --json as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Where to write the page; default STUDY/report.html, or none with --json.")
    ] = None,
    remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that a model's folder brings.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Print every table: by language, rates, kernels, own answers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say why two models differ in speed: tokenizer, fine-tuning, clocks or host, with intervals and verdicts."""
    from tokprof.profiler.measure.schedule import units
    from tokprof.profiler.measure.study import run_study
    from tokprof.profiler.report.study_text import print_plan
    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.studies import create_study, discard_unmeasured, load_plan
    from tokprof.profiler.study_samples import load_study

    if from_ is not None:
        if given := _given(context, "from_", "html", "as_json", "full"):
            raise InputError(f"--from analyses a recorded study as it was planned; leave out {given}")
        plan = load_plan(from_)
        _report(load_study(from_, units(plan), plan), html, as_json=as_json, full=full)
        return
    if resume:
        if out is None:
            raise InputError("--resume wants --out, the folder of the study to go on with")
        if given := _given(context, "resume", "out", "html", "as_json", "full", "plan_only", "remote_code"):
            raise InputError(f"--resume goes on with the plan in --out as it is; leave out {given}")
        plan = load_plan(out, to_go_on=True)
        if plan.trust_remote_code and not remote_code:
            raise InputError(
                f"{out}: planned with --trust-remote-code; pass it again if you trust the Python code that comes with "
                f"{', '.join(dict.fromkeys(arm.model for arm in plan.arms))}"
            )
        folder = out
    else:
        if base is None:
            raise InputError("--base is missing: the model that the others are held against")
        arms = _arms(base, tuned, adapter, control, placebo, weights=weights, swap=swap, apart=apart)
        for arm in arms:
            check_model(
                arm.model,
                weights=arm.weights,
                dtype=dtype,
                attention=attention,
                adapter=None if arm.adapter is None else Path(arm.adapter),
            )
        plan = make_plan(
            arms,
            corpus=corpus,
            languages=_names(languages),
            seen=_names(seen),
            unseen=_names(unseen),
            family=family,
            prompt_share=prompt_share,
            content_share=content_share,
            process_count=processes,
            block_count=blocks,
            margin=_margin(margin),
            seed=seed,
            apart=apart,
            natural_token_count=natural,
            trace_step_count=trace_steps,
            batch_size=batch,
            dtype=dtype,
            attention=attention,
            device=device,
            thread_count=threads,
            trust_remote_code=remote_code,
            explained=tuple(explained or ()),
        )
        folder = out or default_folder(f"{Path(base).name}-study")
    outlook = _outlook(plan, folder, begun=resume)
    if plan_only and as_json:
        typer.echo(plan_as_text(plan, outlook))
    else:
        print_plan(plan, outlook, open_console(stderr=as_json))
    if plan_only:
        return
    if not resume:
        create_study(folder, plan)
    try:
        with _progress() as tell:
            study = run_study(folder, plan, tell)
    except TokprofError as error:
        if not resume and discard_unmeasured(folder) and isinstance(error, Interrupted):
            raise Interrupted(
                "interrupted before anything was measured: nothing is kept, give the command again"
            ) from error
        raise
    _report(study, html, as_json=as_json, full=full)


def _given(context: typer.Context, *allowed: str) -> str:
    """Return the options on the command line besides these: a plan that is fixed already would pass them by."""
    given = []
    for parameter in context.command.params:
        source = None if parameter.name is None else context.get_parameter_source(parameter.name)
        if parameter.name not in allowed and source is not None and source.name == "COMMANDLINE":
            given.append(parameter.opts[0])
    return ", ".join(given)


# ------------------------------------------------------------------------------------------------------------ the plan


def _arms(
    base: str,
    tuned: str | None,
    adapter: Path | None,
    control: str | None,
    placebo: str | None,
    *,
    weights: str,
    swap: bool,
    apart: bool,
) -> "tuple[Arm, ...]":
    """Return the arms: the base, the base again, and whatever was named. A folder with an adapter is merged."""
    from dataclasses import replace

    from tokprof.profiler.studies import Arm, ArmRole

    arms = [
        Arm(name="base", role=ArmRole.BASE, model=base, weights=weights),
        Arm(name="base again", role=ArmRole.AGAIN, model=base, weights=weights),
    ]
    for role, place in ((ArmRole.TUNED, tuned), (ArmRole.CONTROL, control), (ArmRole.PLACEBO, placebo)):
        if place is None:
            continue
        if (Path(place) / "adapter_config.json").is_file():
            arms.append(Arm(name=str(role), role=role, model=base, weights=weights, adapter=place, merge_adapter=True))
        else:
            arms.append(Arm(name=str(role), role=role, model=place, weights=weights))
    if adapter is not None:
        arms.append(Arm(name="adapter", role=ArmRole.ADAPTER, model=base, weights=weights, adapter=str(adapter)))
    if swap:
        if tuned is None or apart:
            raise InputError("--swap wants --tuned, and both models in one process: leave out --apart")
        names = {arm.role: place for place, arm in enumerate(arms)}
        for source, reader in ((ArmRole.BASE, ArmRole.TUNED), (ArmRole.TUNED, ArmRole.BASE)):
            arms.append(
                replace(
                    arms[names[source]],
                    name=f"{source}, {reader}'s tokens",
                    role=ArmRole.SWAPPED,
                    weights_of=names[source],
                    tokens_of=names[reader],
                )
            )
    return tuple(arms)


def make_plan(
    arms: "tuple[Arm, ...]",
    *,
    corpus: str | None,
    languages: list[str],
    seen: list[str],
    unseen: list[str],
    family: str | None,
    prompt_share: float,
    content_share: float,
    process_count: int,
    block_count: int,
    seed: int,
    **design: object,
) -> "Plan":
    """Choose languages, draw of each as many texts as will be measured, and cut them into items.

    Raises
    ------
    InputError
        An unknown language, a text too short to cut, shares that exceed the whole or give an arm too few tokens or more
        than its context, more blocks than can be measured, arms of another shape that nothing explains.
    """
    from datetime import UTC, datetime
    from importlib.metadata import version

    import msgspec

    from tokprof.models.corpora import load_corpus
    from tokprof.models.errors import ModelError
    from tokprof.models.lexers import lexer_version, universal_count
    from tokprof.profiler.studies import Plan, StudyItem, fault_of

    if prompt_share + content_share > 1:
        raise InputError(f"--prompt-share {prompt_share:g} and --content-share {content_share:g} exceed the whole text")
    try:
        found = load_corpus(corpus)
    except ModelError as error:
        raise InputError(str(error)) from error
    chosen = _languages(list(found.languages), languages, seen, unseen, family, arms[0].model)
    keys = {language.key for language in chosen}
    items = []
    for item in _drawn([item for item in found.items if item.language in keys], process_count * block_count, seed):
        first = round(len(item.text) * prompt_share)
        last = first + max(1, round(len(item.text) * content_share))
        prompt, content = item.text[:first], item.text[first:last]
        if not prompt or not content:
            raise InputError(f"{item.name}: {len(item.text)} characters are too few to read a part and decode another")
        items.append(
            StudyItem(
                language=item.language,
                task=item.task or item.name,
                prompt=prompt,
                content=content,
                share=len(content.encode()) / len(item.text.encode()),
                prompt_lexeme_count=universal_count(prompt),
                content_lexeme_count=universal_count(content),
            )
        )
    facts = {
        "arms": arms,
        "languages": chosen,
        "items": tuple(items),
        "corpus": found.name,
        "corpus_digest": found.digest,
        "lexer": lexer_version("universal"),
        "process_count": process_count,
        "block_count": block_count,
        "seed": seed,
        "command": ("tokprof", *sys.argv[1:]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tokprof_version": version("tokprof"),
        **design,
    }
    facts = msgspec.to_builtins(facts)
    try:
        plan = msgspec.convert(facts, Plan)
    except msgspec.ValidationError as error:
        raise InputError(f"no such study can be planned: {misfit(error, facts)}; choose another") from error
    if fault := fault_of(plan):
        raise InputError(f"no such study can be planned: {fault}")
    _check_shapes(plan)
    _check_tokens(plan)
    return plan


def _drawn(items: "Sequence[Item]", count: int, seed: int) -> "list[Item]":
    """Return at most so many texts of each language, by one random order of tasks: languages keep those they share."""
    import random
    from collections import defaultdict

    tasks = sorted({item.task or item.name for item in items})
    rank = dict(zip(tasks, random.Random(f"{seed} tasks").sample(range(len(tasks)), len(tasks)), strict=True))
    of_language: defaultdict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: rank[item.task or item.name]):
        of_language[item.language].append(item)
    return [item for own in of_language.values() for item in own[:count]]


def _check_shapes(plan: "Plan") -> None:
    """Refuse arms of another shape, as far as it is known before they are loaded; their run would be refused then."""
    from tokprof.models.loading import ModelSpec, shape_at_hand
    from tokprof.profiler.commands.models import model_errors

    with model_errors():
        shapes = [shape_at_hand(ModelSpec(name=arm.model, weights=arm.weights)) for arm in plan.arms]
    for arm, shape in zip(plan.arms, shapes, strict=True):
        keys = [key for key, value in shapes[0].items() if shape.get(key, value) != value]
        unexplained = {"model.architecture"} if "model_type" in keys else set()
        unexplained = (unexplained | {"model.config"}) - set(plan.explained)
        if keys and unexplained:
            key, *others = keys
            more = f", and {', '.join(others)} differ{'s' * (len(others) == 1)} as well" if others else ""
            options = " ".join(f"--explained {one}" for one in sorted(unexplained))
            raise InputError(
                f"{arm.model}: {key} is {shape[key]} and {shapes[0][key]} for the base{more}, so a difference in speed "
                f"would not be the weights'; name another model, or pass {options} if it is part of what you study"
            )


def _check_tokens(plan: "Plan") -> None:
    """Refuse what a measured process would refuse after it has loaded the models: texts that an arm cannot read."""
    from tokprof.models.loading import ModelSpec, tokenizer_at_hand
    from tokprof.profiler.commands.models import model_errors
    from tokprof.profiler.measure.study_worker import tokens_of

    with model_errors():
        for model, weights in dict.fromkeys((arm.model, arm.weights) for arm in plan.arms):
            found = tokenizer_at_hand(ModelSpec(name=model, weights=weights))
            if found is not None:
                tokens_of(plan, model, *found)


def _languages(
    known: list[str], asked: list[str], seen: list[str], unseen: list[str], family: str | None, base: str
) -> "tuple[StudyLanguage, ...]":
    """Return the languages with the side on which each stands; by default as many seen as unseen ones."""
    from tokprof.profiler.studies import Exposure, StudyLanguage

    for option, names in (("--languages", asked), ("--seen", seen), ("--unseen", unseen)):
        strange = [name for name in names if name not in known]
        if strange:
            raise InputError(f"{option} {strange[0]}: not in this corpus, which has {', '.join(known)}")
    both = set(seen) & set(unseen)
    if both:
        raise InputError(f"--seen and --unseen both name {', '.join(sorted(both))}")
    made = []
    for key in known:
        side, evidence, name = _exposure(key, family, base)
        if key in seen or key in unseen:
            side, evidence = (Exposure.SEEN if key in seen else Exposure.UNSEEN), "as the user says"
        made.append(StudyLanguage(key=key, name=name, exposure=side, evidence=evidence))
    if asked:
        return tuple(language for language in made if language.key in {*asked, *seen, *unseen})
    if seen or unseen:
        return tuple(language for language in made if language.key in {*seen, *unseen})
    picked = []
    for side in (Exposure.SEEN, Exposure.UNSEEN):
        # The pivot first, and languages of which nothing was in the data before those that were only left out.
        own = sorted((x for x in made if x.exposure is side), key=lambda x: (x.key != PIVOT, not _wholly(x.key)))
        picked += own[:DEFAULT_LANGUAGES_PER_CLASS]
    return tuple(picked) or tuple(made[: 2 * DEFAULT_LANGUAGES_PER_CLASS])


def _wholly(key: str) -> bool:
    """Say whether a language has no entry in the map of the data that the stand-in was trained on."""
    from tokprof.models.languages import exposure

    return exposure(key, STAND_IN).label != "not trained"


def _exposure(key: str, family: str | None, base: str) -> "tuple[Exposure, str, str]":
    """Say on which side a language stands for the base, how that is known, and what it is called."""
    from tokprof.models.languages import display_name, exposure, families
    from tokprof.models.zoo import find
    from tokprof.profiler.studies import Exposure

    if family is not None and family not in families():
        raise InputError(f"--family {family}: unknown; choose one of {', '.join(families())}")
    entry = find(base)
    own = family or (entry.tokenizer if entry is not None else None)
    known = exposure(key, own)
    evidence: str = known.evidence
    label = known.label
    if label == "unknown":
        known = exposure(key, STAND_IN)
        label = known.label
        evidence = f"by {families()[STAND_IN].name}'s list, this model's is not known"
    sides = {
        "trained": Exposure.SEEN,
        "named": Exposure.SEEN,
        "unseen": Exposure.UNSEEN,
        "not trained": Exposure.UNSEEN,
    }
    return sides.get(label, Exposure.NEITHER), evidence, display_name(key)


def _names(text: str | None) -> list[str]:
    """Return the keys of languages named by key, name or alias, with commas between."""
    from tokprof.models.languages import language_key

    words = [word.strip() for word in (text or "").split(",")]
    return [language_key(word) or word for word in words if word]


def _margin(text: str) -> float:
    """Read ``1%`` or ``0.01``."""
    try:
        value = float(text.rstrip("% ")) / (100 if text.rstrip().endswith("%") else 1)
    except ValueError as error:
        raise InputError(f"--margin {text}: no number; write 1% or 0.01") from error
    if not 0 < value < 1:
        raise InputError(f"--margin {text}: wants to lie between 0 and 100 %")
    return value


def _outlook(plan: "Plan", folder: Path, *, begun: bool) -> "Outlook":
    """Say what is still to be measured, how long it should take and what it can find, before it starts."""
    from tokprof.profiler.analysis.stats import VarianceComponents
    from tokprof.profiler.measure.schedule import units
    from tokprof.profiler.measure.study import steps_guessed
    from tokprof.profiler.record import DecodeMode
    from tokprof.profiler.report.study_text import Outlook
    from tokprof.profiler.studies import ProcessLog

    components = VarianceComponents(
        between_sd=BETWEEN_SD, within_sd=WITHIN_SD, process_count=plan.process_count, block_count=plan.block_count
    )
    step_s = [_step_seconds(arm.model) for arm in plan.arms]
    schedule = units(plan)
    every = [block for unit in schedule for block in unit.blocks]
    finished_count, expected_s = 0, 0.0
    for unit in schedule:
        log = ProcessLog(folder, unit) if begun else None
        finished = frozenset() if log is None else log.finished
        finished_count += len(finished)
        if log is not None and log.ended:
            continue
        expected_s += START_S + sum(LOAD_FACTOR * step_s[arm] for arm in unit.arms)
        left = [block for block in unit.blocks if block.index not in finished]
        expected_s += sum(steps_guessed(plan, block) * step_s[arm] for block in left for arm in block.order)
    return Outlook(
        folder=folder,
        block_count=len(every),
        natural_block_count=sum(block.mode is DecodeMode.NATURAL for block in every),
        sample_count=sum(len(block.order) for block in every),
        finished_block_count=finished_count,
        expected_s=expected_s,
        detectable_log=components.detectable_effect(plan.process_count, plan.block_count * len(plan.languages)),
    )


def plan_as_text(plan: "Plan", outlook: "Outlook") -> str:
    """Return what would be measured as JSON: the plan without its texts, counts, and what is expected of it.

    ``margin_relative`` and ``detectable_relative`` are relative differences, 0.01 for 1 %; the latter is ``null`` where
    one process gives no interval.
    """
    import msgspec
    import numpy as np

    facts = msgspec.to_builtins(plan)
    facts["items"] = [{"language": item.language, "task": item.task} for item in plan.items]
    facts["blocks_per_language_and_process"] = facts.pop("block_count")
    facts["margin_relative"] = facts.pop("margin")
    log = outlook.detectable_log
    facts |= {
        "study": str(outlook.folder),
        "block_count": outlook.block_count,
        "natural_block_count": outlook.natural_block_count,
        "sample_count": outlook.sample_count,
        "finished_block_count": outlook.finished_block_count,
        "expected_s": outlook.expected_s,
        "detectable_relative": None if log is None else float(np.expm1(log)),
    }
    return msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()


def _step_seconds(model: str) -> float:
    """Guess how long one decode step takes: the bytes it reads over what memory gives."""
    from tokprof.models import cost
    from tokprof.models.zoo import find

    entry = find(model)
    size = 1e9
    if entry is not None:
        size = cost.parameter_count(cost.shape_of(entry.config)) * 4.0
    elif Path(model).is_dir():
        size = float(sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))) or size
    elif Path(model).is_file():
        size = float(Path(model).stat().st_size)
    return size / (GPU_BYTES_PER_S if any(Path("/dev").glob("nvidia[0-9]*")) else CPU_BYTES_PER_S)


@contextlib.contextmanager
def _progress() -> "Iterator[Callable[[StudyProgress], None]]":
    """Give a function that shows how far the study is, on standard error, with the time that is left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    from tokprof.profiler.report.study_text import duration
    from tokprof.profiler.report.terminal import open_console

    words = {"loading": "loading {}", "fetching": "fetching", "warm-up": "warming up", "tracing": "tracing {}"}
    console = open_console(stderr=True)
    # Refreshed every two seconds: the model is measured on the same cores.
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("blocks ·"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        transient=True,
        refresh_per_second=0.5,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("starting", total=None, left="")
        told_s: float | None = None
        begun = False  # a first block was told, with what is left

        def tell(now: "StudyProgress") -> None:
            nonlocal told_s, begun
            done, planned = now.finished_block_count, now.planned_block_count
            doing = f"process {now.process + 1} of {now.process_count}{' of ' * bool(now.arm)}{now.arm}"
            left = "" if now.left_s is None or done == planned else f"about {duration(now.left_s)} left"
            stage = "done" if now.stage == "ended" else words.get(now.stage, "measuring").format(now.detail)
            progress.update(
                task, description=f"{doing}: {stage}", completed=done, total=planned, left=f"· {left}" * bool(left)
            )
            said = [f"; {note.message}: {note.advice}" for note in now.notes]
            due = told_s is None or time.monotonic() - told_s > QUIET_S
            first = not begun and bool(left)
            if said or (not console.is_terminal and (due or first or now.stage == "ended")):
                told_s = time.monotonic()
                begun |= bool(left)
                reached = f"{done} of {planned} blocks measured{', ' * bool(left)}{left}"
                console.print(Text(f"{doing}: {stage}, {reached}{''.join(said)}"), soft_wrap=True)

        yield tell


# ---------------------------------------------------------------------------------------------------------- the report


def _report(study: "Study", html: Path | None, *, as_json: bool, full: bool) -> None:
    from tokprof.profiler.analysis.study import analyze_study
    from tokprof.profiler.analysis.study_parts import kernel_passes
    from tokprof.profiler.report.study_html import write_study_page
    from tokprof.profiler.report.study_text import print_study
    from tokprof.profiler.report.terminal import open_console
    from tokprof.profiler.trace.reader import read_trace
    from tokprof.profiler.trace.steps import typical_steps

    steps = {place: typical_steps(read_trace(file, cache=False)) for place, file in study.traces().items()}
    report = analyze_study(study, kernel_passes(study, steps))
    place = html or study.folder / "report.html"
    page = f"the page      {place}"
    try:
        if html is not None or not as_json:
            write_study_page(report, place)
    except MeasurementError as error:
        if html is not None:
            raise
        page = str(error)
    if as_json:
        typer.echo(as_text(report))
    else:
        print_study(report, open_console(), full=full)
        again = f"tokprof attribute --from {study.folder}"
        if not full:
            page += f"\nevery table   {again} --full (by language, rates, kernels, own answers; or --json)"
        typer.echo(f"\n{page}\nevery sample  {study.folder}\nagain         {again}")


def as_text(report: "StudyReport") -> str:
    """Return a report as JSON; of the timelines the ledgers by category, without the kernel tables.

    Estimates (``value``, ``low``, ``high``, ``error``, ``sd``), ``components`` and keys that end in ``_log`` are
    natural logarithms of an arm over the base, of its time where the name says nothing else: exp(x) - 1 is the relative
    difference, which ``margin_relative`` is for ``margin_log``. The effects of ``factors``, ``step`` and ``phases`` are
    parts of such a logarithm. In ``language_identity`` it is of the base in a language over itself in the pivot, in
    ``fertility`` of the tokens per lexeme themselves. Times end in their unit. What is not known is ``null``, and so
    are the margin where equivalence cannot be told, and seconds and effect of what cannot differ by design.
    """
    import msgspec
    import numpy as np

    def ledgers(diff: "TimelineDiff | None") -> list[dict[str, object]]:
        return [
            {
                "phase": phase.phase,
                "base_wall_ns": phase.a.wall_ns,
                "arm_wall_ns": phase.b.wall_ns,
                "residual_ns": phase.residual_ns,
                "ledger": dict(phase.ledgers)["category"],
            }
            for phase in (diff.phases if diff is not None else ())
        ]

    def keyed(part: Any, **keys: str) -> dict[str, Any]:
        """Return the fields of a part of the report, some by the key that says what they are."""
        return {keys.get(name, name): getattr(part, name) for name in part.__dataclass_fields__}

    def identity(lines: "Sequence[IdentityLine]") -> list[dict[str, Any]]:
        parts = ("total", "verbosity", "fertility", "steps", "step_cost")
        return [keyed(line, **{part: f"{part}_log" for part in parts}) for line in lines]

    facts = keyed(report)
    facts["margin_relative"] = None if report.margin_log is None else float(np.expm1(report.margin_log))
    facts["comparisons"] = [
        keyed(c)
        | {"identity": identity(c.identity), "timeline": ledgers(c.timeline)}
        | {"factors": [keyed(x) | ({"seconds": None, "effect": None} if x.by_design else {}) for x in c.factors]}
        | {"components": c.components and keyed(c.components, between_sd="between_sd_log", within_sd="within_sd_log")}
        for c in report.comparisons
    ]
    facts["language_identity"] = identity(report.language_identity)
    facts["fertility"] = [keyed(line, tokens_per_lexeme="tokens_per_lexeme_log") for line in report.fertility]
    facts["natural"] = [keyed(line, log_ratio="token_count_log") for line in report.natural]
    return msgspec.json.format(msgspec.json.encode(facts, enc_hook=float), indent=2).decode()  # numpy's numbers
