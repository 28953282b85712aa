"""Tokenizer fertility: how many tokens the same work costs in each language, and why.

Over the tasks that a language shares with the pivot, tokens_l / tokens_p (*parity*) is exactly lexemes_l / lexemes_p
(*verbosity*: the language says the same in more or fewer words) times (tokens_l / lexemes_l) / (tokens_p / lexemes_p)
(*premium*: the tokenizer spends more on each word).

The task is the sampling unit. The interval of a ratio of sums is Student's around its logarithm, with the standard
error of the delete-one-task jackknife: it belongs to the figure that is printed, which an interval of the mean of the
tasks' log ratios would not, and it covers better than the linearised variance does (simulated, nominal 95 %: 93.2-95 %
from 4 to 96 tasks; ``tests/analysis/test_fertility.py`` repeats a part). For a claim about a class of languages the
language is the sampling unit.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tokprof.models.corpora import Corpus, Item
from tokprof.models.errors import ModelError
from tokprof.models.languages import Exposure, display_name, exposure, languages
from tokprof.models.lexers import LexerName, lexeme_counts, lexer_version
from tokprof.models.synthetic import DESCRIPTION
from tokprof.models.tokenizers import Tokenizer
from tokprof.profiler.record import Note, NoteLevel

CONFIDENCE = 0.95
RENYI_ORDER = 2.5  # Zouhar et al. 2023, "Tokenization and the Noiseless Channel"
UNKNOWN_FACTOR = 4.0  # an interval that leaves so much open tells nothing
MADE = "by construction"  # the evidence that no model has read a language
FEWEST_OF_A_CLASS = 3  # languages, to say in a sentence what a class of them costs
BATCH_CHARACTERS = 4_000_000  # encoded at once: enough to keep every core busy, without holding all tokens of a corpus

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A ratio with its 95 % interval; none where there is one unit or a unit without which nothing is left."""

    value: float
    low: float | None
    high: float | None
    unit_count: int

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval; ``None`` where there is none, or where it leaves a factor of four or more either way open."""
        if self.low is None or self.high is None:
            return None
        told = self.high < UNKNOWN_FACTOR * self.value < UNKNOWN_FACTOR**2 * self.low
        return (self.low, self.high) if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageFertility:
    """One language under one tokenizer; figures against the pivot are over the tasks that both have.

    A token is counted as tab or newline if it is white space and holds one; as byte fallback if it stands for a single
    byte of a vocabulary of pieces, or for part of a character. A token can be more than one of these.
    """

    language: str
    name: str
    exposure: Exposure
    item_count: int
    byte_count: int
    token_count: int
    lexeme_count: int | None  # None: the lexer does not know the language
    tokens_per_kb: Ratio  # kB of 1,000 bytes
    tokens_per_lexeme: Ratio | None
    shared_task_count: int
    parity: Ratio | None  # None: no task is shared with the pivot
    parity_median: float | None  # over the shared tasks
    verbosity: Ratio | None
    premium: Ratio | None
    tab_share: float  # of the tokens
    newline_share: float
    byte_fallback_share: float
    renyi_efficiency: float  # of order 2.5, over the whole vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPremium:
    """The geometric mean premium of the languages with one exposure label; the language is the sampling unit."""

    label: str
    languages: tuple[str, ...]
    premium: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFertility:
    """Every language under one tokenizer, the costliest first."""

    tokenizer: str
    digest: str
    vocabulary_count: int
    languages: tuple[LanguageFertility, ...]
    classes: tuple[ClassPremium, ...]
    verbosity_share: float | None  # squared correlation of log verbosity and log parity; None below three languages


@dataclass(frozen=True, slots=True, kw_only=True)
class Fertility:
    """What a corpus costs under several tokenizers."""

    corpus: str
    corpus_digest: str
    lexer: str  # with its version
    pivot: str | None  # None: the corpus has no such language
    tokenizers: tuple[TokenizerFertility, ...]
    notes: tuple[Note, ...]
    confidence: float = CONFIDENCE


def fertility(
    corpus: Corpus,
    tokenizers: Sequence[Tokenizer],
    pivot: str = "python",
    *,
    lexer: LexerName = "universal",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Fertility:
    """Count a corpus under tokenizers and compare every language with the pivot.

    Parameters
    ----------
    tokenizers
        In the order of the report. Their names are the families whose exposure is reported.
    pivot
        Key of the language that others are compared with.
    progress
        Told the characters encoded so far, and all of them.

    Raises
    ------
    ModelError
        The lexer is not installed, or a tokenizer makes no tokens of a language.
    """
    groups = {key: list(items) for key, items in groupby(sorted(corpus.items, key=_order), key=lambda i: i.language)}
    lexemes = {key: lexeme_counts([item.text for item in items], key, lexer) for key, items in groups.items()}
    sizes = {key: [len(item.text.encode()) for item in items] for key, items in groups.items()}
    everything = len(tokenizers) * sum(len(item.text) for item in corpus.items)
    done = 0

    def advance(characters: int) -> None:
        nonlocal done
        done += characters
        progress(done, everything)

    measured = []
    for backend in tokenizers:
        rows = {}
        for key, items in groups.items():
            tokens, occurrences = _encode(backend, items, advance)
            known = lexemes[key]
            units = _Units(
                keys=tuple(item.task for item in items),
                tokens=tokens,
                bytes=np.array(sizes[key], np.int64),
                lexemes=None if known is None else np.array(known, np.int64),
            )
            rows[key] = units, occurrences
        measured.append(_tokenizer(backend, rows, pivot))
    return Fertility(
        corpus=corpus.name,
        corpus_digest=corpus.digest,
        lexer=lexer_version(lexer),
        pivot=pivot if pivot in groups else None,
        tokenizers=tuple(measured),
        notes=tuple(_notes(corpus, pivot, {key for key, known in lexemes.items() if known is None})),
    )


def _order(item: Item) -> tuple[str, str, str]:
    return item.language, item.task or "", item.name


# ------------------------------------------------------------------------------------------------------------ counting


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """Counts of one language, a row for each item."""

    keys: tuple[str | None, ...]  # tasks
    tokens: Counts
    bytes: Counts
    lexemes: Counts | None


def _encode(tokenizer: Tokenizer, items: Sequence[Item], advance: Callable[[int], None]) -> tuple[Counts, Counts]:
    """Return the tokens of each item, and how often each token of the vocabulary occurred."""
    counts, occurrences = [], np.zeros(tokenizer.vocabulary_count, np.int64)
    for texts in _batches([item.text for item in items]):
        encoded = tokenizer.encode_batch(texts)
        counts += [len(ids) for ids in encoded]
        found = np.bincount(np.concatenate([np.array(ids, np.int64) for ids in encoded]))
        if len(found) > len(occurrences):
            occurrences = np.pad(occurrences, (0, len(found) - len(occurrences)))
        occurrences[: len(found)] += found
        advance(sum(map(len, texts)))
    if not sum(counts):
        raise ModelError(f"{tokenizer.name}: makes no token at all of {items[0].name}; it is no tokenizer of text")
    return np.array(counts, np.int64), occurrences


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _shares(tokenizer: Tokenizer, occurrences: Counts) -> dict[str, float]:
    """Return which shares of the tokens are tabs, newlines and byte fallback."""
    tab = newline = fallback = 0
    for number in np.flatnonzero(occurrences).tolist():
        text, count = tokenizer.decode([number]), int(occurrences[number])
        blank = not text.strip()
        newline += count * (blank and "\n" in text)
        tab += count * (blank and "\t" in text)
        fallback += count * (number in tokenizer.byte_ids or "\ufffd" in text)
    total = int(occurrences.sum())
    return {
        "tab_share": tab / total,
        "newline_share": newline / total,
        "byte_fallback_share": fallback / total,
    }


def renyi_efficiency(occurrences: npt.ArrayLike, vocabulary_count: int, order: float = RENYI_ORDER) -> float:
    """Return the Rényi entropy of the tokens' distribution over the greatest that the vocabulary allows, ln |V|.

    Zouhar et al. 2023 find that, at order 2.5, it goes with how well a tokenizer serves a model.
    """
    found = np.asarray(occurrences, float)
    shares = found[found > 0] / found.sum()
    entropy = math.log(float((shares**order).sum())) / (1 - order)
    return max(0.0, entropy) / math.log(vocabulary_count)


# --------------------------------------------------------------------------------------------------------------- ratios


def ratio_of_sums(over: Sequence[npt.ArrayLike], under: Sequence[npt.ArrayLike], scale: float = 1.0) -> Ratio:
    """Return the product of the sums in ``over`` by that of the sums in ``under``, with its jackknife interval.

    Parameters
    ----------
    over, under
        Columns of non-negative counts with a row for each sampling unit, all of one length.
    scale
        Factor of the value and both bounds.
    """
    columns = np.array([*over, *under], float)
    signs = np.array([1.0] * len(over) + [-1.0] * len(under))
    totals = columns.sum(axis=1)
    # One division at the end keeps parity = verbosity times premium to the last bits.
    value = scale * math.prod(totals[: len(over)].tolist()) / math.prod(totals[len(over) :].tolist())
    count = columns.shape[1]
    without = totals[:, None] - columns
    if count < 2 or (without <= 0).any():
        return Ratio(value=value, low=None, high=None, unit_count=count)
    logs = signs @ np.log(without)
    error = math.sqrt((count - 1) / count * float(((logs - logs.mean()) ** 2).sum()))
    return _interval(value, error, count)


def _interval(value: float, error: float, count: int) -> Ratio:
    from scipy.special import stdtrit

    factor = math.exp(float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error)
    return Ratio(value=value, low=value / factor, high=value * factor, unit_count=count)


def _by_task(units: _Units, column: Counts) -> dict[str, int]:
    sums: dict[str, int] = {}
    for task, count in zip(units.keys, column.tolist(), strict=True):
        if task is not None:
            sums[task] = sums.get(task, 0) + count
    return sums


def _language(
    tokenizer: Tokenizer, key: str, units: _Units, occurrences: Counts, pivot: _Units | None
) -> LanguageFertility:
    named = all(task is not None for task in units.keys)
    unit_of = units.keys if named else tuple(map(str, range(len(units.keys))))

    def sums(column: Counts) -> Counts:
        _, where = np.unique(np.array(unit_of), return_inverse=True)
        return np.bincount(where, weights=column).astype(np.int64)

    parity = median = verbosity = premium = None
    mine = _by_task(units, units.tokens)
    theirs = {} if pivot is None else _by_task(pivot, pivot.tokens)
    shared = sorted(task for task in mine.keys() & theirs.keys() if mine[task] and theirs[task])
    if shared and pivot is not None:
        tokens, pivot_tokens = ([table[task] for task in shared] for table in (mine, theirs))
        parity = ratio_of_sums([tokens], [pivot_tokens])
        median = float(np.median(np.array(tokens) / np.array(pivot_tokens)))
        if units.lexemes is not None and pivot.lexemes is not None:
            table, pivot_table = _by_task(units, units.lexemes), _by_task(pivot, pivot.lexemes)
            lexemes, pivot_lexemes = ([t[task] for task in shared] for t in (table, pivot_table))
            if sum(lexemes) and sum(pivot_lexemes):
                verbosity = ratio_of_sums([lexemes], [pivot_lexemes])
                premium = ratio_of_sums([tokens, pivot_lexemes], [lexemes, pivot_tokens])
    lexeme_count = None if units.lexemes is None else int(units.lexemes.sum())
    return LanguageFertility(
        language=key,
        name=display_name(key),
        exposure=exposure(key, tokenizer.name),
        item_count=len(units.keys),
        byte_count=int(units.bytes.sum()),
        token_count=int(units.tokens.sum()),
        lexeme_count=lexeme_count,
        tokens_per_kb=ratio_of_sums([sums(units.tokens)], [sums(units.bytes)], scale=1000.0),
        tokens_per_lexeme=ratio_of_sums([sums(units.tokens)], [sums(units.lexemes)])
        if units.lexemes is not None and lexeme_count
        else None,
        shared_task_count=len(shared),
        parity=parity,
        parity_median=median,
        verbosity=verbosity,
        premium=premium,
        renyi_efficiency=renyi_efficiency(occurrences, tokenizer.vocabulary_count),
        **_shares(tokenizer, occurrences),
    )


def _tokenizer(tokenizer: Tokenizer, rows: Mapping[str, tuple[_Units, Counts]], pivot: str) -> TokenizerFertility:
    base = rows[pivot][0] if pivot in rows else None
    found = [_language(tokenizer, key, units, occurrences, base) for key, (units, occurrences) in rows.items()]
    found.sort(key=lambda f: (-f.parity.value if f.parity else math.inf, -f.tokens_per_kb.value, f.language))
    # A language made here has the dearest words there can be: it says nothing of natural ones.
    natural = [f for f in found if f.language != pivot and f.exposure.evidence != MADE]
    return TokenizerFertility(
        tokenizer=tokenizer.name,
        digest=tokenizer.digest,
        vocabulary_count=tokenizer.vocabulary_count,
        languages=tuple(found),
        classes=tuple(_classes(natural)),
        verbosity_share=_verbosity_share(natural),
    )


def _classes(found: Iterable[LanguageFertility]) -> Iterator[ClassPremium]:
    groups: dict[str, list[LanguageFertility]] = {}
    for f in found:
        if f.premium is not None:
            groups.setdefault(f.exposure.label, []).append(f)
    for label, members in sorted(groups.items()):
        logs = np.log([f.premium.value for f in members if f.premium is not None])
        value = math.exp(float(logs.mean()))
        premium = Ratio(value=value, low=None, high=None, unit_count=len(members))
        if len(members) > 1:
            premium = _interval(value, float(logs.std(ddof=1)) / math.sqrt(len(members)), len(members))
        yield ClassPremium(label=label, languages=tuple(sorted(f.language for f in members)), premium=premium)


def _verbosity_share(found: Iterable[LanguageFertility]) -> float | None:
    pairs = [(f.verbosity.value, f.parity.value) for f in found if f.verbosity is not None and f.parity is not None]
    if len(pairs) < 3:
        return None
    verbosity, parity = np.log(np.array(pairs)).T
    if not verbosity.std() or not parity.std():
        return None
    return float(np.corrcoef(verbosity, parity)[0, 1] ** 2)


# ---------------------------------------------------------------------------------------------------------------- words


def made_languages(keys: Iterable[str]) -> list[Note]:
    """Return the line that says what a language is which was made here, where it is among these."""
    known = languages()
    if not any(key in known and known[key].synthetic for key in keys):
        return []
    return [Note(code="made-language", message=DESCRIPTION, level=NoteLevel.INFO)]


def _notes(corpus: Corpus, pivot: str, unlexed: set[str]) -> Iterator[Note]:
    if pivot not in corpus.languages:
        yield Note(
            code="no-pivot",
            message=f"{corpus.name} has nothing in {display_name(pivot)}, so no language is compared with it",
            advice="name one of its languages as --pivot",
        )
    elif not corpus.tasks:
        yield Note(
            code="no-tasks",
            message=f"{corpus.name} names no tasks, so its languages do not say the same and are not compared",
            advice="give its lines a task, or lay it out task/language",
        )
    few = len({item.task for item in corpus.items if item.language == pivot})
    if corpus.tasks and 0 < few < 8:
        yield Note(
            code="few-tasks",
            message=f"{few} tasks are few to tell from" if few > 1 else "one task gives no interval",
            advice="a corpus of more tasks tells more",
        )
    if unlexed:
        yield Note(
            code="no-lexer",
            message=f"Pygments has no lexer for {', '.join(map(display_name, sorted(unlexed)))}",
            advice="--lexer universal counts every language alike",
            level=NoteLevel.INFO,
        )
    yield from made_languages(corpus.languages)


def headlines(report: Fertility) -> tuple[str, ...]:
    """Say in plain words, for each tokenizer, what languages cost against the pivot and what that is owed to."""
    return tuple(_headline(report, found) for found in report.tokenizers)


def _headline(report: Fertility, found: TokenizerFertility) -> str:
    compared = [f for f in found.languages if f.parity is not None and f.language != report.pivot]
    if report.pivot is None or not compared:
        costs = [f.tokens_per_kb.value for f in found.languages]
        return f"{found.tokenizer}: {min(costs):.0f} to {max(costs):.0f} tokens per kB of code."
    # A language with fewer tasks than others is not set beside them.
    most = max(f.shared_task_count for f in compared)
    compared = [f for f in compared if f.shared_task_count == most]
    pivot, ends = display_name(report.pivot), [f"{_against(f)} in {f.name}" for f in (compared[-1], compared[0])]
    if len(compared) == 1:
        words = [f"{found.tokenizer}: the same tasks take {ends[0]} times the tokens of {pivot}"]
    else:
        words = [f"{found.tokenizer}: the same tasks take from {ends[0]} to {ends[1]} times the tokens of {pivot}"]
    if found.verbosity_share is not None:
        words.append(f"; verbosity explains {100 * found.verbosity_share:.0f} % of that spread")
    # Of fewer languages there is no speaking of their class.
    told = [group for group in found.classes if len(group.languages) >= FEWEST_OF_A_CLASS]
    made: dict[str, str] = {f.exposure.label: f.name for f in found.languages if f.exposure.evidence == MADE}
    words += [f"; per lexeme {_labelled(group, made.get(group.label))} {percent(group.premium)}" for group in told]
    return "".join(words) + "."


def _against(f: LanguageFertility) -> str:
    assert f.parity is not None
    return f"{f.parity.value:.2f}{interval(f.parity, lambda bound: f'{bound:.2f}')}"


def _labelled(group: ClassPremium, made: str | None) -> str:
    """Name a class of languages and how many it has; ``made`` is a language of its label that it was kept out of."""
    count = len(group.languages)
    what = "seen in training" if group.label == "trained" else group.label
    if group.label == "unknown":
        return f"the {count} whose exposure is unknown cost"
    return f"the {count} {what}{f' (without {made})' if made else ''} cost"


def percent(ratio: Ratio) -> str:
    """Write a ratio as a change in percent with its interval: ``+2.6 % [-2.4, +8.5]``."""
    return f"{100 * (ratio.value - 1):+.1f} %{interval(ratio, lambda bound: f'{100 * (bound - 1):+.1f}')}"


def interval(ratio: Ratio, write: Callable[[float], str]) -> str:
    """Write a ratio's interval, with a space before it; nothing where there is none."""
    if ratio.low is None or ratio.high is None:
        return ""
    return f" [{write(ratio.bounds[0])}, {write(ratio.bounds[1])}]" if ratio.bounds else " (too few to tell)"
