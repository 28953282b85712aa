"""A study on disk: lines are whole or do not count, and what is not one experiment is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tokprof.profiler import studies
from tokprof.profiler.errors import FileFormatError, InputError, OutputError, misfit
from tokprof.profiler.measure.schedule import units
from tokprof.profiler.record import DecodeMode
from tokprof.profiler.sensors.sampler import LENGTH, MAGIC, TAG_FACTS
from tokprof.profiler.studies import (
    Arm,
    ArmRole,
    End,
    Exposure,
    FinishedBlock,
    Header,
    Plan,
    ProcessLog,
    Sample,
    StudyItem,
    StudyLanguage,
    create_study,
    discard_unmeasured,
    load_plan,
    locked,
    trace_file,
)
from tokprof.profiler.study_samples import load_study

sys.path.insert(0, str(Path(__file__).parent))
from study_makers import MACHINE, MODEL, made_up


def plan_of(*languages: str, process_count: int = 2, **more) -> Plan:
    facts = {
        "arms": (
            Arm(name="base", role=ArmRole.BASE, model="m"),
            Arm(name="base again", role=ArmRole.AGAIN, model="m"),
        ),
        "languages": tuple(
            StudyLanguage(key=key, name=key, exposure=Exposure.SEEN, evidence="documented") for key in languages
        ),
        "items": tuple(
            StudyItem(
                language=key,
                task="one",
                prompt="abc",
                content="defg",
                share=0.5,
                prompt_lexeme_count=1,
                content_lexeme_count=1,
            )
            for key in languages
        ),
        "process_count": process_count,
        "trace_step_count": 0,
    }
    return made_up(**{**facts, **more})


def header_of(plan, unit, session=0, models=None, machine=MACHINE):
    count = tuple(3 for _ in plan.items)
    return Header(
        process=unit.process,
        session=session,
        arms=unit.arms,
        environment=machine,
        models=tuple((models or [MODEL] * len(plan.arms))[arm] for arm in unit.arms),
        prompt_token_counts=tuple(count for _ in unit.arms),
        content_token_counts=tuple(count for _ in unit.arms),
    )


def block_of(block, session=0, start=1_000):
    samples = tuple(
        Sample(arm=arm, host_ns=(start, start + 100 + arm, start + 150, start + 210), token_count=3)
        for arm in block.order
    )
    return FinishedBlock(session=session, block=block, samples=samples)


def measured(folder, plan):
    create_study(folder, plan)
    for unit in units(plan):
        log = ProcessLog(folder, unit)
        log.append(header_of(plan, unit))
        for block in unit.blocks:
            log.append(block_of(block))
        log.append(End())
    return folder


def test_what_is_written_comes_back(tmp_path):
    plan = plan_of("python", "go")
    study = load_study(measured(tmp_path / "s", plan), units(plan), load_plan(tmp_path / "s"))
    assert study.plan == plan
    assert (study.finished_block_count, study.planned_block_count) == (4, 4)
    assert len(study.samples) == 16
    assert set(study.samples.prefill_ns.tolist()) == {100, 101}
    assert study.samples.decode_ns.tolist() == [110 - arm for arm in study.samples.arm.tolist()]
    assert study.samples.step_count.tolist() == [2] * 16
    first = study.samples.step_start[5]
    assert study.step_ns[first : first + 2].tolist() == [50 - study.samples.arm[5], 60]
    assert study.samples.sm_clock_mhz is None  # nobody read a clock: absent, not 0
    assert any(note.code == "samples-absent" for note in study.notes)


def one_block(folder, **facts):
    """A study of one block, each of whose samples holds these facts."""
    plan = plan_of("python", process_count=1)
    create_study(folder, plan)
    unit = units(plan)[0]
    log = ProcessLog(folder, unit)
    log.append(header_of(plan, unit))
    common = {"host_ns": (0, 10, 62, 114), "device_ns": (5, 105, 155, 255), "token_count": 3}
    samples = tuple(Sample(arm=arm, **{**common, **facts}) for arm in unit.blocks[0].order)
    log.append(FinishedBlock(session=0, block=unit.blocks[0], samples=samples))
    return load_study(folder, units(plan), plan)


def test_while_the_device_reads_its_clock_no_step_runs(tmp_path):
    facts = {"pause_host_ns": 30, "pause_device_ns": 20, "sm_clocks": ((28_000, 20_000), (30_000, 20_000))}
    samples = one_block(tmp_path / "gpu", **facts).samples
    assert set(samples.decode_ns.tolist()) == {150 - 20}
    assert set(samples.issue_ns.tolist()) == {104 - 30}
    assert set(samples.counted_clock_mhz.tolist()) == {1450.0}
    assert samples.sm_clock_mhz is None  # no driver was asked
    assert set(one_block(tmp_path / "cpu", device_ns=None, **facts).samples.decode_ns.tolist()) == {104 - 30}
    assert one_block(tmp_path / "unread").samples.counted_clock_mhz is None
    for number, pauses in enumerate(({"pause_device_ns": 50}, {"pause_host_ns": 52})):  # all of the first step
        with pytest.raises(FileFormatError, match="do not follow each other"):
            one_block(tmp_path / f"damaged {number}", **pauses)


def test_a_study_of_version_1_is_read_but_not_gone_on_with(tmp_path):
    plan = plan_of("python", process_count=1)
    folder = measured(tmp_path / "s", plan)
    file = folder / "plan.json"
    file.write_text(file.read_text().replace('"version": 2', '"version": 1'))
    (folder / "traces" / "base.json.gz").write_bytes(b"")
    assert load_study(folder, units(plan), load_plan(folder)).traces() == {(0, 0): folder / "traces" / "base.json.gz"}
    with pytest.raises(FileFormatError, match="version 1, and this tokprof adds to 2 only; analyse it with --from"):
        load_plan(folder, to_go_on=True)


def test_device_times_are_the_devices_and_issue_times_the_hosts(tmp_path):
    plan = plan_of("python", process_count=1)
    create_study(tmp_path / "s", plan)
    unit = units(plan)[0]
    log = ProcessLog(tmp_path / "s", unit)
    log.append(header_of(plan, unit))
    samples = tuple(
        Sample(arm=arm, host_ns=(0, 10, 12, 14), device_ns=(5, 105, 155, 255), token_count=3)
        for arm in unit.blocks[0].order
    )
    log.append(FinishedBlock(session=0, block=unit.blocks[0], samples=samples))
    study = load_study(tmp_path / "s", units(plan), plan)
    assert set(study.samples.prefill_ns.tolist()) == {100}
    assert set(study.samples.decode_ns.tolist()) == {150}
    assert set(study.samples.issue_ns.tolist()) == {4}


def test_an_answer_that_ended_counts_only_its_own_tokens(tmp_path):
    plan = plan_of("python", process_count=1, natural_token_count=5)
    create_study(tmp_path / "s", plan)
    unit = units(plan)[0]
    natural = next(block for block in unit.blocks if block.mode is DecodeMode.NATURAL)
    log = ProcessLog(tmp_path / "s", unit)
    log.append(header_of(plan, unit))
    samples = tuple(Sample(arm=arm, host_ns=(0, 10, 20, 30, 40), token_count=2, ended=True) for arm in natural.order)
    log.append(FinishedBlock(session=0, block=natural, samples=samples))
    study = load_study(tmp_path / "s", units(plan), plan)
    assert study.samples.token_count.tolist() == [2, 2]
    assert study.samples.decode_ns.tolist() == [10, 10]


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_line_that_was_cut_off_is_left_out_and_written_over(tmp_path, cut):
    plan = plan_of("python", "go", process_count=1)
    folder = measured(tmp_path / "s", plan)
    unit = units(plan)[0]
    file = folder / f"{unit.name}.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:cut])
    log = ProcessLog(folder, unit)
    assert log.finished == {unit.blocks[0].index}
    assert not log.ended
    (note,) = (note for note in load_study(folder, units(plan), plan).notes if note.code == "unfinished")
    assert "process-00.jsonl has 1 of 2 blocks, and its last line is cut off" in note.message
    assert f"--resume --out {folder}" in note.advice
    log.append(block_of(unit.blocks[1]))
    log.append(End())
    assert file.read_bytes() == whole


def test_of_many_unfinished_processes_the_first_are_named(tmp_path):
    plan = plan_of("python", "go", process_count=6)
    folder = measured(tmp_path / "s", plan)
    for file in sorted(folder.glob("process-*.jsonl"))[1:]:
        file.unlink()
    (note,) = (note for note in load_study(folder, units(plan), plan).notes if note.code == "unfinished")
    assert note.message.startswith("2 of 12 blocks are measured; 5 of 6 processes are not finished: process-01.jsonl")
    assert "process-03.jsonl has 0 of 2 blocks; and 2 more" in note.message
    assert "cut off" not in note.message


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    plan = plan_of("python", "go", process_count=1)
    create_study(tmp_path / "s", plan)
    script = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_studies import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
plan = load_plan(folder)
unit = units(plan)[0]
log = ProcessLog(folder, unit)
log.append(header_of(plan, unit))
log.append(block_of(unit.blocks[0]))
size = log.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, resource.RLIM_INFINITY))
try:
    log.append(block_of(unit.blocks[1]))
except OutputError as error:
    print(error)
print(log.path.stat().st_size == size)
"""
    words = [sys.executable, "-c", script, str(tmp_path / "s"), str(Path(__file__).parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "every finished block is kept, go on with --resume" in done.stdout
    assert done.stdout.endswith("True\n")
    assert len(load_study(tmp_path / "s", units(plan), plan).samples) == 4


def test_a_second_session_of_a_process_is_said(tmp_path):
    plan = plan_of("python", "go", process_count=1)
    create_study(tmp_path / "s", plan)
    unit = units(plan)[0]
    for session in (0, 1):
        log = ProcessLog(tmp_path / "s", unit)
        log.append(header_of(plan, unit, session=session))
        log.append(block_of(unit.blocks[session], session=session))
    study = load_study(tmp_path / "s", units(plan), plan)
    assert {note.code for note in study.notes} >= {"resumed", "unfinished"}
    assert study.samples.session.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "bfloat16"}, "model.dtype is float32 for base and bfloat16 for base again"),
        ({"attention": "eager"}, "model.attention is sdpa for base and eager for base again"),
        ({"config_digest": "other"}, "model.config is c for base and other for base again"),
    ],
)
def test_arms_that_differ_in_an_unexplained_key_are_refused(tmp_path, change, words):
    plan = plan_of("python", process_count=1)
    create_study(tmp_path / "s", plan)
    unit = units(plan)[0]
    log = ProcessLog(tmp_path / "s", unit)
    log.append(header_of(plan, unit, models=(MODEL, replace(MODEL, **change))))
    log.append(block_of(unit.blocks[0]))
    with pytest.raises(InputError, match=words):
        load_study(tmp_path / "s", units(plan), plan)
    key = words.split()[0]
    assert len(load_study(tmp_path / "s", units(plan), replace(plan, explained=(key,))).samples) == 4


def test_processes_on_other_machines_or_weights_are_refused(tmp_path):
    plan = plan_of("python")
    for name, machine, models, words in (
        ("a", replace(MACHINE, libraries=(("torch", "2.11.0"),)), None, "library.torch is 2.13.0 in process 0"),
        ("b", MACHINE, (MODEL, replace(MODEL, weights_digest="x")), "base again: weights is w in process 0"),
    ):
        create_study(tmp_path / name, plan)
        first, second = units(plan)
        log = ProcessLog(tmp_path / name, first)
        log.append(header_of(plan, first))
        log.append(block_of(first.blocks[0]))
        ProcessLog(tmp_path / name, second).append(header_of(plan, second, machine=machine, models=models))
        with pytest.raises(InputError, match=words):
            load_study(tmp_path / name, units(plan), plan)


def test_a_damaged_study_is_refused_by_name(tmp_path):
    plan = plan_of("python", process_count=1)
    folder = measured(tmp_path / "s", plan)
    with pytest.raises(InputError, match="no such study folder"):
        load_plan(tmp_path / "absent")
    with pytest.raises(InputError, match=r"a file; name the folder of the study, .*/s$"):
        load_plan(folder / "plan.json")
    with pytest.raises(InputError, match=r"plan\.json is missing"):
        load_plan(tmp_path)
    facts = json.loads((folder / "plan.json").read_text())
    for change, words in (
        ({"version": 9}, "version 9"),
        ({"format": "other"}, "key 'format'"),
        ({"arms": []}, "wants a base arm"),
        ({"margin": "x"}, "key 'margin' is 'x', and wants a number"),
        ({"process_count": None}, "key 'process_count' is None, and wants a whole number"),
        ({"arms": [{"name": 3}]}, r"key 'arms\[0\].name' is 3, and wants text"),
    ):
        (folder / "plan.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises(FileFormatError, match=rf"{words}.*restore it from a copy|version 9"):
            load_plan(folder)
    (folder / "plan.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"no JSON object.*restore it from a copy"):
        load_plan(folder)


def test_a_value_that_does_not_fit_is_named_wherever_msgspec_says_where_it_is():
    class Facts(msgspec.Struct):
        row: tuple[int, ...] = ()
        sizes: dict[str, int] = {}
        rows: dict[str, list[int]] = {}
        names: dict[int, str] = {}

    for facts, words in (
        ({"row": (1, "x")}, "key 'row[1]' is 'x', and wants a whole number"),
        ({"row": [1, "x"]}, "key 'row[1]' is 'x', and wants a whole number"),
        ({"sizes": {"a": 1, "b": "x"}}, "key 'sizes[...]' wants a whole number"),
        ({"rows": {"b": [1, "x"]}}, "key 'rows[...][1]' wants a whole number"),
        ({"names": {"b": "x"}}, "a key of 'names' wants a whole number"),
    ):
        with pytest.raises(msgspec.ValidationError) as caught:
            msgspec.convert(facts, Facts)
        assert misfit(caught.value, facts) == words


def damaged_block(**change):
    def damage(line):
        return {**line, "block": {**line["block"], **change}}

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged_block(item=99), "an item or an arm that is not there"),
        (damaged_block(order=[7, 7]), "an item or an arm that is not there"),
        (damaged_block(order=[0]), "not those of its order"),
        (lambda line: {**line, "session": 4}, "no header of its session 4"),
        (lambda line: {**line, "samples": [{**s, "host_ns": [5, 4, 3]} for s in line["samples"]]}, "do not follow"),
        (lambda _: {"type": "nonsense"}, "line 2"),
        (lambda line: [line, line], "line 2"),
    ],
)
def test_a_block_that_does_not_fit_is_refused(tmp_path, damage, words):
    plan = plan_of("python", process_count=1)
    folder = measured(tmp_path / "s", plan)
    file = folder / f"{units(plan)[0].name}.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(damage(json.loads(lines[1])))
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(FileFormatError, match=words):
        load_study(folder, units(plan), plan)


def test_a_study_in_work_is_locked(tmp_path):
    folder = tmp_path / "s"
    create_study(folder, plan_of("python"))
    with locked(folder), pytest.raises(InputError, match="another tokprof is measuring"), locked(folder):
        pass


def test_an_existing_folder_is_not_written_into(tmp_path):
    create_study(tmp_path / "s", plan_of("python"))
    with pytest.raises(OutputError, match="pass --resume"):
        create_study(tmp_path / "s", plan_of("python"))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="choose another --out"):
        create_study(tmp_path / "t", plan_of("python"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"process_count": 0}, ">= 1"),
        ({"process_count": 10**30}, "process_count"),
        ({"process_count": 2_000_000}, "blocks are more than"),
        ({"block_count": -1}, "block_count"),
        ({"margin": 0}, "margin"),
        ({"thread_count": 0}, "thread_count"),
        ({"languages": None}, "two are called 'python'"),
        ({"arms": ["tuned 1", "tuned 2"]}, "two are called 'tuned-'"),
        ({"items": {"content": ""}}, "content"),
        ({"items": {"share": 0}}, "share"),
        ({"items": {"content_lexeme_count": -1}}, "content_lexeme_count"),
    ],
)
def test_a_strangers_plan_is_refused_by_key(tmp_path, change, words):
    folder = measured(tmp_path / "s", plan_of("python", process_count=1))
    facts = json.loads((folder / "plan.json").read_text())
    for key, value in change.items():
        if key == "items":
            facts["items"][0] |= value
        elif key == "languages":
            facts[key] *= 2
        elif key == "arms":
            facts[key] += [{**facts[key][1], "name": name} for name in value]
        else:
            facts[key] = value
    (folder / "plan.json").write_text(json.dumps(facts))
    with pytest.raises(FileFormatError, match=words):
        load_plan(folder)


@pytest.mark.parametrize("text", ['{"a": ' + "[" * 100_000, '{"format": "\\ud800', b"\xff{}", "[]"])
def test_a_plan_that_is_no_json_or_too_deep_or_too_large_is_one_line(tmp_path, monkeypatch, text):
    file = tmp_path / "plan.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FileFormatError, match="no JSON object"):
        load_plan(tmp_path)
    monkeypatch.setattr(studies, "MOST_BYTES", 1)
    with pytest.raises(FileFormatError, match="larger than 1 bytes"):
        load_plan(tmp_path)


def test_no_arms_name_leads_out_of_the_folder():
    arms = (
        Arm(name="base", role=ArmRole.BASE, model="m"),
        Arm(name="/../../victim", role=ArmRole.TUNED, model="m"),
    )
    plan = plan_of("python", arms=arms, apart=True)
    assert {Path(f"{unit.name}.jsonl").name for unit in units(plan)} == {f"{unit.name}.jsonl" for unit in units(plan)}
    assert trace_file(Path("s"), 0, "/../../victim").parent == Path("s/traces")


def sample_change(**change):
    return lambda line: {**line, "samples": [{**sample, **change} for sample in line["samples"]]}


@pytest.mark.parametrize(
    ("number", "damage", "words"),
    [
        (0, lambda line: {**line, "process": 1}, "of another process"),
        (0, lambda line: {**line, "arms": [0, 0]}, "of other arms"),
        (0, lambda line: {**line, "prompt_token_counts": [[0], [0]]}, ">= 1"),
        (0, lambda line: {**line, "models": line["models"][:1]}, "tables do not fit"),
        (1, sample_change(host_ns=[0, 2**70, 2**71, 2**72]), "host_ns"),
        (
            1,
            sample_change(host_ns=["x", 10]),
            r"line 2: key 'samples\[0\].host_ns\[0\]' is 'x', and wants a whole .* cut",
        ),
        (1, lambda line: {"type": line["type"]}, "line 2: key 'session' is missing; .* go on with --resume"),
        (1, sample_change(host_ns=[-5, 10, 20, 30]), "host_ns"),
        (1, sample_change(token_count=2**40), "token_count"),
        (1, sample_change(host_ns=[0, 10]), "decodes nothing, or in no time"),
        (1, sample_change(host_ns=[0, 10, 10]), "decodes nothing, or in no time"),
        (1, sample_change(token_count=1), "decodes nothing, or in no time"),
    ],
)
def test_a_strangers_lines_are_refused_by_name(tmp_path, number, damage, words):
    plan = plan_of("python", process_count=1)
    folder = measured(tmp_path / "s", plan)
    file = folder / f"{units(plan)[0].name}.jsonl"
    lines = file.read_text().splitlines()
    lines[number] = json.dumps(damage(json.loads(lines[number])))
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(FileFormatError, match=words):
        load_study(folder, units(plan), plan)


def test_a_session_cannot_begin_twice(tmp_path):
    plan = plan_of("python", process_count=1)
    folder = measured(tmp_path / "s", plan)
    file = folder / f"{units(plan)[0].name}.jsonl"
    file.write_text(file.read_text().splitlines()[0] + "\n" + file.read_text())
    with pytest.raises(FileFormatError, match="session 0 begins twice"):
        load_study(folder, units(plan), plan)


@pytest.mark.parametrize("facts", [None, b"{x", b"[1]", b'{"own_wall_ns": "x", "own_cpu_ns": 1}'])
def test_damaged_samples_of_the_machine_are_a_note(tmp_path, facts):
    plan = plan_of("python", process_count=1)
    folder = measured(tmp_path / "s", plan)
    data = b"no sampler wrote this"
    if facts is not None:
        data = MAGIC + TAG_FACTS + LENGTH.pack(len(facts)) + facts
    (folder / "process-00.0.samples").write_bytes(data)
    study = load_study(folder, units(plan), plan)
    assert any("missing or damaged" in note.message for note in study.notes)


def test_blocks_that_the_plan_does_not_give_are_analysed_but_not_added_to(tmp_path):
    plan = plan_of("python", "go", process_count=1)
    folder = measured(tmp_path / "s", plan)
    (unit,) = units(plan)
    file = folder / f"{unit.name}.jsonl"
    lines = file.read_text().splitlines()
    block = json.loads(lines[1])
    block["block"]["item"] = 1 - block["block"]["item"]
    file.write_text("\n".join([lines[0], json.dumps(block)]) + "\n")
    assert load_study(folder, units(plan), plan).finished_block_count == 1
    with pytest.raises(InputError, match="block 0 is not the one that the plan gives here"):
        ProcessLog(folder, unit)


def test_a_session_without_a_block_is_not_counted(tmp_path):
    plan = plan_of("python", process_count=1)
    folder = tmp_path / "s"
    create_study(folder, plan)
    (unit,) = units(plan)
    log = ProcessLog(folder, unit)
    log.append(header_of(plan, unit, session=0))
    log.append(header_of(plan, unit, session=1))
    log.append(block_of(unit.blocks[0], session=1))
    notes = load_study(folder, units(plan), plan).notes
    assert not [note for note in notes if note.code == "resumed"]
    assert [note.message[:21] for note in notes if note.code == "samples-absent"] == ["process-00.1.samples "]


def test_only_a_study_without_any_line_is_discarded(tmp_path):
    plan = plan_of("python", process_count=1)
    create_study(tmp_path / "empty", plan)
    assert discard_unmeasured(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    assert not discard_unmeasured(measured(tmp_path / "full", plan))
    assert load_plan(tmp_path / "full") == plan


def test_every_key_that_differs_is_in_the_way_out(tmp_path):
    plan = plan_of("python", process_count=1)
    create_study(tmp_path / "s", plan)
    (unit,) = units(plan)
    log = ProcessLog(tmp_path / "s", unit)
    log.append(header_of(plan, unit, models=(MODEL, replace(MODEL, dtype="bfloat16", config_digest="other"))))
    log.append(block_of(unit.blocks[0]))
    with pytest.raises(InputError, match=r"and 1 other .*--explained model\.config --explained model\.dtype"):
        load_study(tmp_path / "s", units(plan), plan)
