"""Factors of records as groups: levels of a text column, bands of a numeric one."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from covid_lm.data.records import ImageRecord

MAX_LEVELS = 20  # a column of text with more values has no levels
MAX_NUMBERS = 6  # a column of numbers with more values is cut into bands
OLDEST = 90  # years; higher ages are one band, since few people have them
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "unknown", "?", "-"))
_AGE = re.compile(r"(?<![a-z])age(?![a-z])")
_YEARS = r"^0*([0-9]+)[Yy]$"  # DICOM's form of an age
_NUMBER = r"[+-]?(?=\.?[0-9])(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?"


@dataclasses.dataclass(frozen=True)
class FactorLevels:
    """The groups into which a factor divides images.

    Attributes:
        levels: names of the levels or bands that have an image, in order.
        codes: index into `levels` of each image, int [n]; -1 where the value is missing.
        is_numeric: true for bands, and for levels that are numbers.
    """

    levels: tuple[str, ...]
    codes: np.ndarray
    is_numeric: bool


def factor_columns(records: Sequence[ImageRecord]) -> dict[str, list[str]]:
    """Each factor's values in the order of the records, "" where a record lacks the factor."""
    names = dict.fromkeys(name for record in records for name in record.factors)
    return {name: [record.factors.get(name, "") for record in records] for name in names}


def factor_levels(values: Sequence[str], name: str = "") -> FactorLevels | None:
    """Divides images by the values of a factor.

    Text and up to `MAX_NUMBERS` different numbers give a level for each value. Ages are cut into
    decades, more numbers into quarters of equal size. Empty values, NA, NaN, null, unknown, ? and -
    are missing.

    Args:
        values: of each image.
        name: of the column; "age" as a word of it, as in "PatientAge", makes it an age.

    Returns:
        The groups, none if all values are missing; None for text of more than `MAX_LEVELS` values,
        or of a value for less than two images each.
    """
    column = pd.Series(list(values), dtype=object).str.strip()
    column = column.mask(column.str.lower().isin(_MISSING))
    numbers = _numbers(column)
    if numbers is None:
        distinct = column.nunique()
        if distinct > MAX_LEVELS or distinct > max(2, column.count() / 2):
            return None
        codes, levels = pd.factorize(column, sort=True)
        return FactorLevels(tuple(levels), codes, False)
    if _is_age(name):
        return _bands(numbers, numbers.clip(upper=OLDEST) // 10, _decade)
    if numbers.nunique() <= MAX_NUMBERS:
        return _bands(numbers, numbers, _interval)
    quarters = pd.qcut(numbers, 4, labels=False, duplicates="drop")
    return _bands(numbers, quarters, _interval)


def _numbers(column: pd.Series) -> pd.Series | None:
    """The values as finite numbers, NaN where missing; None if one is no number.

    Digits after a zero, as in "007", are a code.
    """
    known = column.dropna().str.replace(_YEARS, r"\1", regex=True)
    if known.empty or not known.str.fullmatch(_NUMBER).all():
        return None
    numbers = known.astype(float)
    return numbers.reindex(column.index) if np.isfinite(numbers).all() else None


def _is_age(name: str) -> bool:
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return bool(_AGE.search(separated.lower()))


def _bands(
    numbers: pd.Series, groups: pd.Series, band_name: Callable[[pd.Series], str]
) -> FactorLevels:
    """A level for each group of numbers, in the order of the groups' keys."""
    names = [band_name(band) for _, band in numbers.groupby(groups)]
    # Rounding may have made names equal.
    names = [f"{n} ({k})" if names.count(n) > 1 else n for k, n in enumerate(names, 1)]
    return FactorLevels(tuple(names), pd.factorize(groups, sort=True)[0], True)


def _interval(numbers: pd.Series) -> str:
    low, high = _shown(numbers.min()), _shown(numbers.max())
    return low if low == high else f"{low} to {high}"


def _decade(ages: pd.Series) -> str:
    low = 10 * int(ages.min() // 10)
    return f"{OLDEST} or more" if low >= OLDEST else f"{low} to {low + 9}"


def _shown(number: float) -> str:
    """Four significant digits: a longer number may be an identifier."""
    return f"{float(f'{number:.4g}'):.15g}"
