"""From a plan to an order: palindromes, every language as often, the same again from the same seed."""

from collections import Counter
from dataclasses import replace

import pytest

from tokprof.profiler.measure.schedule import units
from tokprof.profiler.record import DecodeMode
from tokprof.profiler.studies import Arm, ArmRole, Exposure, Plan, StudyItem, StudyLanguage

PLAN = Plan(
    arms=(
        Arm(name="base", role=ArmRole.BASE, model="m"),
        Arm(name="base again", role=ArmRole.AGAIN, model="m"),
        Arm(name="tuned", role=ArmRole.TUNED, model="t"),
    ),
    languages=tuple(
        StudyLanguage(key=key, name=key, exposure=Exposure.SEEN, evidence="documented")
        for key in ("python", "go", "odin")
    ),
    items=tuple(
        StudyItem(
            language=language,
            task=task,
            prompt="p",
            content="c",
            share=0.1,
            prompt_lexeme_count=1,
            content_lexeme_count=1,
        )
        for language in ("python", "go", "odin")
        for task in ("one", "two", "three", "four")
    ),
    corpus="test",
    corpus_digest="d",
    lexer="universal 1",
    process_count=4,
    block_count=2,
    margin=0.01,
    seed=7,
    natural_token_count=8,
)


def test_a_block_runs_its_arms_in_some_order_and_back_again():
    orders = set()
    for unit in units(PLAN):
        for block in unit.blocks:
            if block.mode is DecodeMode.TEACHER_FORCED:
                assert block.order == block.order[::-1]
                assert sorted(block.order) == [0, 0, 1, 1, 2, 2]
                orders.add(block.order)
    assert len(orders) > 1  # drawn, not fixed


def test_arms_are_loaded_in_an_order_drawn_for_each_process_and_swapped_ones_last():
    swapped = Arm(name="swapped", role=ArmRole.SWAPPED, model="m", weights_of=0, tokens_of=2)
    plan = replace(PLAN, arms=(*PLAN.arms, swapped), process_count=12)
    orders = [unit.arms for unit in units(plan)]
    assert all(sorted(order) == [0, 1, 2, 3] and order[-1] == 3 for order in orders)
    assert len(set(orders)) > 2
    assert len({order[0] for order in orders}) > 1  # not always the base


def test_each_process_measures_every_language_as_often_and_in_another_order():
    sequences = []
    for unit in units(PLAN):
        forced = [block for block in unit.blocks if block.mode is DecodeMode.TEACHER_FORCED]
        languages = [PLAN.items[block.item].language for block in forced]
        assert Counter(languages) == {"python": 2, "go": 2, "odin": 2}
        sequences.append(tuple(languages))
    assert len(set(sequences)) > 1


def test_the_tasks_of_a_language_take_turns():
    used = Counter(
        block.item for unit in units(PLAN) for block in unit.blocks if block.mode is DecodeMode.TEACHER_FORCED
    )
    assert set(used.values()) == {2}  # 4 processes of 2 blocks over 4 tasks


def test_natural_answers_are_asked_for_once_per_language():
    natural = [block for unit in units(PLAN) for block in unit.blocks if block.mode is DecodeMode.NATURAL]
    assert [PLAN.items[block.item].language for block in natural] == ["python", "go", "odin"]
    assert all(sorted(block.order) == [0, 1, 2] for block in natural)


def test_the_same_plan_gives_the_same_order_and_another_seed_another():
    assert units(PLAN) == units(PLAN)
    assert units(PLAN) != units(replace(PLAN, seed=8))


def test_arms_apart_have_processes_of_their_own_that_stay_interleaved():
    made = units(replace(PLAN, apart=True))
    assert len(made) == 12
    assert len({unit.name for unit in made}) == 12
    by_process = [[unit.arms[0] for unit in made if unit.process == process] for process in range(4)]
    assert by_process[1] == by_process[0][::-1]
    assert by_process[3] == by_process[2][::-1]
    items = {unit.process: [] for unit in made}
    for unit in made:
        items[unit.process].append([block.item for block in unit.blocks])
    assert all(own[0] == other for own in items.values() for other in own)


@pytest.mark.parametrize("count", [1, 3])
def test_block_indices_are_their_places(count):
    for unit in units(replace(PLAN, block_count=count)):
        assert [block.index for block in unit.blocks] == list(range(len(unit.blocks)))
