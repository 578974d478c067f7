"""Features of any kind as columns that a linear probe can read."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

NUM_BINS = 12
MIN_FILES = 3
MIN_SHARE = 0.005
MAX_COLUMNS = 400


@dataclasses.dataclass(frozen=True)
class Features:
    """What one check looks at.

    Attributes:
        numbers: named numeric features, float [n] each.
        facts: for each of the n files what is true of it, as text.
    """

    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    facts: Sequence[tuple[str, ...]] = ()


@dataclasses.dataclass(frozen=True)
class DesignMatrix:
    """Columns of zeros and ones, float32 [n, columns], and what a 1 in each means."""

    columns: np.ndarray
    names: tuple[str, ...]


def design_matrix(features: Features, num_files: int) -> DesignMatrix:
    """Each number cut into bins, each fact a column; columns that repeat another are left out.

    Nothing here looks at labels: the columns may be made once for all folds.
    """
    columns, names = [], []
    for name, values in features.numbers.items():
        for text, column in binned(name, np.asarray(values, float)):
            names.append(text)
            columns.append(column)
    for fact, column in _fact_columns(features.facts, num_files):
        names.append(fact)
        columns.append(column)
    return _distinct(columns, names, num_files)


def cut_points(values: np.ndarray) -> np.ndarray:
    """Where to cut: near the quantiles, between values that occur, and around frequent values.

    A value that a bin's share of the files or more have gets a bin of its own, so that what is
    the same for one class is never mixed with its neighbours.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2:
        return np.empty(0)
    between = (distinct[:-1] + distinct[1:]) / 2
    below = np.cumsum(counts)[:-1] / len(values)
    wanted = np.arange(1, NUM_BINS) / NUM_BINS
    chosen = {int(np.argmin(np.abs(below - share))) for share in wanted}
    for index in np.flatnonzero(counts >= len(values) / NUM_BINS):
        chosen |= {int(index) - 1, int(index)}
    return between[sorted(chosen & set(range(len(between))))]


def binned(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Named columns of a number: one for each bin, and one for each cut, "above it"."""
    cuts = cut_points(values)
    if not len(cuts):
        return []
    bins = np.digitize(values, cuts)
    columns = [(f"{name} above {_short(cut)}", values > cut) for cut in cuts]
    for index in range(1, len(cuts)):
        low, high = values[bins == index].min(), values[bins == index].max()
        text = _short(low) if low == high else f"{_short(low)} to {_short(high)}"
        columns.append((f"{name} is {text}", bins == index))
    return columns


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _fact_columns(facts: Sequence[tuple[str, ...]], num_files: int) -> list[tuple[str, np.ndarray]]:
    """A column for each of the facts that split the files best, rare and universal ones last."""
    rows = collections.defaultdict(list)
    for index, known in enumerate(facts):
        for fact in known:
            rows[fact].append(index)
    least = max(MIN_FILES, MIN_SHARE * num_files)
    kept = [fact for fact, found in rows.items() if least <= len(found) < num_files]
    kept.sort(key=lambda fact: (-len(rows[fact]) * (num_files - len(rows[fact])), fact))
    columns = []
    for fact in kept[: 4 * MAX_COLUMNS]:
        column = np.zeros(num_files, bool)
        column[rows[fact]] = True
        columns.append((fact, column))
    return columns


def _distinct(columns: list[np.ndarray], names: list[str], num_files: int) -> DesignMatrix:
    """The first of the columns that say the same, and of those at most 400."""
    seen, kept = set(), []
    for index, column in enumerate(columns):
        # A column and its complement are one question.
        key = np.packbits(column ^ column[0]).tobytes()
        if key not in seen and column.any() and not column.all():
            seen.add(key)
            kept.append(index)
    kept = kept[:MAX_COLUMNS]
    if not kept:
        return DesignMatrix(np.empty((num_files, 0), np.float32), ())
    matrix = np.stack([columns[i] for i in kept], axis=1).astype(np.float32)
    return DesignMatrix(matrix, tuple(names[i] for i in kept))
