"""What repeats in a sequence of kernels: steps within a trace, layers within a step."""

import numpy as np

from tokprof.profiler.record import Array

LAYER_MINIMUM = 3  # repetitions of a block that is to be taken for a layer
CANDIDATES = 96  # periods that are tried


def repeating_block(codes: Array, *, minimum_count: int, minimum_share: float = 0.3) -> tuple[int, int, int] | None:
    """Find the block of codes that repeats right after itself and covers the most.

    Returns its start, its length and how often it stands there in a row; ``None`` where no block repeats
    ``minimum_count`` times over ``minimum_share`` of the sequence. Of blocks that cover about as much, the shortest
    wins.
    """
    count = len(codes)
    if count < 2 * minimum_count:
        return None
    best: tuple[int, int, int] | None = None
    covered = 0
    for period in _candidate_periods(codes, count // minimum_count):
        same = codes[period:] == codes[:-period]
        # A block that stands there n times in a row equals itself one period on over n - 1 of them.
        wanted = max(minimum_share * count, 1.05 * covered) * (1 - 1 / minimum_count)
        if np.count_nonzero(same) < wanted:
            continue
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.view(np.int8), [0]])))
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        if not len(starts):
            continue
        longest = int(np.argmax(lengths))
        repeats = int(lengths[longest]) // period + 1
        if repeats >= minimum_count and repeats * period > 1.05 * covered:
            best, covered = (int(starts[longest]), period, repeats), repeats * period
    return best if covered >= minimum_share * count else None


def _candidate_periods(codes: Array, longest: int) -> list[int]:
    """Return the commonest distances between occurrences of rare codes; ascending."""
    counts = np.bincount(codes)
    several = np.flatnonzero(counts >= 2)
    weight: dict[int, float] = {}
    for code in several[np.argsort(counts[several], kind="stable")][:64]:
        places = np.flatnonzero(codes == code)
        # A code that stands several times in a block shows the block as a sum of its distances.
        for stride in range(1, min(9, len(places))):
            distances, often = np.unique(places[stride:] - places[:-stride], return_counts=True)
            for at in np.argsort(-often)[: 4 if stride == 1 else 2]:
                period = int(distances[at])
                if period <= longest:
                    weight[period] = weight.get(period, 0.0) + float(often[at]) / len(places)
    return sorted(sorted(weight, key=lambda p: -weight[p])[:CANDIDATES])


def layers(names: Array, telling: Array | None = None) -> Array:
    """Return the layer of each kernel of a step, by the block of names that repeats; -1 outside it.

    The block's run is prolonged to both sides over single kernels that stand between two of its repetitions, and over
    parts of the block at its ends; so a first layer that lacks its norm is still a layer. ``telling`` marks the kernels
    that make a block a layer: a block without one is no layer (an optimiser's update of each parameter, for one).
    """
    layer = np.full(len(names), -1, dtype=np.int32)
    found = repeating_block(names, minimum_count=LAYER_MINIMUM)
    if found is None:
        return layer
    start, period, count = found
    block = names[start : start + period]
    if telling is not None and not telling[start : start + period].any():
        return layer
    place = np.full(len(names), np.iinfo(np.int64).min)  # in the endless repetition of the block
    stop = start + period * count
    place[start:stop] = np.arange(period * count)
    _prolong(place, names, stop, block, forward=True)
    _prolong(place, names, start, block, forward=False)
    inside = np.flatnonzero(place > np.iinfo(np.int64).min)
    number = (place[inside] - place[inside[0]]) // period
    whole = np.bincount(number) * 2 >= period  # less than half a block at the end is none
    layer[inside] = np.where(whole[number], number, -1)
    return layer


def _prolong(place: Array, names: Array, edge: int, block: Array, *, forward: bool) -> None:
    """Give places to the rows beyond ``edge`` that go on with the block; two rows between blocks may be strange."""
    step = 1 if forward else -1
    ordered = block if forward else block[::-1]
    at = edge if forward else edge - 1
    last = int(place[edge - 1] if forward else place[edge])
    while True:
        best, skipped = 0, 0
        for skip in (0, 1, 2):
            seen = names[at + skip * step :: step] if at + skip * step >= 0 else names[:0]
            seen = seen[: len(block)]
            differs = np.flatnonzero(seen != ordered[: len(seen)])
            length = int(differs[0]) if len(differs) else len(seen)
            if length > best:
                best, skipped = length, skip
            if best == len(block):
                break
        if best < 2 or (skipped and best < len(block)):
            return
        rows = np.arange(skipped + best)
        value = np.maximum(rows - skipped + 1, 0) if forward else np.maximum(rows - skipped + 1, 1)
        place[at + rows * step] = last + step * value
        last += step * best
        at += step * (skipped + best)
        if best < len(block):
            return
