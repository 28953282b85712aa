"""From a plan to an order: which process measures which blocks, and in which order the arms of a block run.

Within a block the arms run in a random order and then back again (A B B A), so that a drift of the machine that is
linear in time cancels. A process is the unit of replication: it loads every arm afresh and measures every language
``block_count`` times. Everything follows from the plan's seed, so a study that is resumed goes on with the same order.
"""

import random
from collections.abc import Sequence

from tokprof.profiler.record import DecodeMode
from tokprof.profiler.studies import Block, Plan, Unit, file_name


def units(plan: Plan) -> tuple[Unit, ...]:
    """Return the processes of a study in the order in which they run.

    With ``plan.apart`` each arm has a process of its own; the arms of a replication follow each other in a random
    order, and in the reverse order the next time, so that they stay interleaved.
    """
    made: list[Unit] = []
    order: list[int] = []
    for process in range(plan.process_count):
        name = f"process-{process:02d}"
        if not plan.apart:
            arms = tuple(range(len(plan.arms)))
            made.append(
                Unit(process=process, name=name, arms=_loading(plan, process), blocks=_blocks(plan, process, arms))
            )
            continue
        if process % 2 == 0:
            order = _random(plan, process, "arms").sample(range(len(plan.arms)), len(plan.arms))
        else:
            order = order[::-1]
        for arm in order:
            own = f"{name}-{file_name(plan.arms[arm].name)}"
            made.append(Unit(process=process, name=own, arms=(arm,), blocks=_blocks(plan, process, (arm,))))
    return tuple(made)


def _loading(plan: Plan, process: int) -> tuple[int, ...]:
    """Return the arms in the order in which a process loads them, swapped ones after those they are made of.

    It is drawn anew for each process: where in memory a model comes to lie can cost per cents of its speed, and what
    always lies first would pass for faster.
    """
    loaded = [place for place, arm in enumerate(plan.arms) if arm.weights_of is None]
    swapped = [place for place, arm in enumerate(plan.arms) if arm.weights_of is not None]
    return (*_random(plan, process, "loading").sample(loaded, len(loaded)), *swapped)


def _blocks(plan: Plan, process: int, arms: Sequence[int]) -> tuple[Block, ...]:
    """Every language ``block_count`` times, in a random order; each time with the next of its tasks.

    The order and the tasks do not depend on the arms, so processes of a replication that hold one arm each agree.
    """
    draw = _random(plan, process, "blocks")
    chosen: list[tuple[int, DecodeMode]] = []
    natural: list[tuple[int, DecodeMode]] = []
    for language in plan.languages:
        items = [number for number, item in enumerate(plan.items) if item.language == language.key]
        items = _random(plan, 0, f"tasks {language.key}").sample(items, len(items))
        if not items:
            continue
        first = process * plan.block_count
        turns = [items[(first + turn) % len(items)] for turn in range(plan.block_count)]
        chosen += [(item, DecodeMode.TEACHER_FORCED) for item in turns]
        if plan.natural_token_count and process == 0:
            # Greedy decoding gives the same tokens in every process: once is enough for the number of tokens.
            natural.append((turns[0], DecodeMode.NATURAL))
    draw.shuffle(chosen)
    chosen += natural
    blocks = []
    for index, (item, mode) in enumerate(chosen):
        order = draw.sample(list(arms), len(arms))
        turned = order if plan.apart or mode is DecodeMode.NATURAL else [*order, *reversed(order)]
        blocks.append(Block(index=index, item=item, mode=mode, order=tuple(turned)))
    return tuple(blocks)


def _random(plan: Plan, process: int, what: str) -> random.Random:
    return random.Random(f"{plan.seed} {process} {what}")
