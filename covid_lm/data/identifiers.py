"""Patients' names and identifiers, replaced wherever a text of a data set has them.

Patients are numbered. In a path the number takes the place of the identifier. In a file name there
are crosses instead, as many as characters, since a model may use the name's length.
"""

import collections
import dataclasses
import itertools
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence

from covid_lm.data.records import SPLIT_NAMES, ImageRecord

MIN_LENGTH = 4  # of an identifier; shorter ones, such as "17", identify nobody
MIN_NAME_LENGTH = 3  # of a part of a name
MAX_WORDS = 8  # that an identifier may have in a text
_WORD = re.compile(r"[^\W_]+")
_NAME = re.compile(r"[^\W\d_]+([\W_]+[^\W\d_]+)+[\W_]*")
# Columns of tables that are not kept, by their names in lower case without separators.
PRIVATE_COLUMNS = frozenset(
    {
        *("name", "patientname", "firstname", "lastname", "familyname", "givenname", "surname"),
        *("birthdate", "patientbirthdate", "dateofbirth", "dob", "mrn", "ssn", "accession"),
        *("accessionnumber", "medicalrecordnumber", "address", "phone", "email", "nationalid"),
    }
)


class Identifiers:
    """The identifiers of a data set's patients.

    Args:
        kept: words that are no identifiers: names of classes.
    """

    def __init__(self, kept: Collection[str] = ()):
        self._kept = {*SPLIT_NAMES, *(word for name in kept for word in _words(name))}
        self._numbers: dict[str, str] = {}  # by the words of an identifier, joined
        self._of_patient: dict[str, set[str]] = collections.defaultdict(set)
        self._patterns: dict[str, re.Pattern | None] = {}  # of a patient's identifiers in words
        self._longest = 0  # identifier, in characters

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def add(self, texts: Iterable[str], number: str, names: Iterable[str] = ()) -> None:
        """Adds identifiers and names of the patient with a number; parts of names count, too.

        An identifier of several words without digits is taken as a name.
        """
        texts = [*texts]
        names = [*names, *(text for text in texts if _NAME.fullmatch(text))]
        for text in [*texts, *names]:
            self._add(_words(text), number, MIN_LENGTH)
        for name in names:
            for word in _words(name):
                self._add([word], number, MIN_NAME_LENGTH)

    def _add(self, words: Sequence[str], number: str, shortest: int) -> None:
        joined = "".join(words)
        if len(joined) < shortest or {*words} <= self._kept or joined in self._kept:
            return
        for form in {joined, "".join(words[::-1])}:
            for written in {form, _without_accents(form)}:
                self._numbers.setdefault(written, number)
                self._of_patient[number].add(written)
                self._patterns.pop(number, None)
                self._longest = max(self._longest, len(written))

    def replace(self, text: str, number: str | None = None, crosses: bool = False) -> str:
        """The text with the patients' numbers in place of identifiers.

        Args:
            number: of the patient that the text is of, whose identifiers are also found within
                words.
            crosses: put crosses of the same length there.
        """
        composed = unicodedata.normalize("NFC", text)
        spans = self._spans(composed, number) if self else []
        if not spans:
            return text
        for start, end, owner in reversed(spans):
            new = "x" * (end - start) if crosses else f"patient-{owner}"
            composed = composed[:start] + new + composed[end:]
        return composed

    def _spans(self, text: str, number: str | None) -> list[tuple[int, int, str]]:
        """Start, end and patient of each identifier, in order, without overlaps."""
        words = list(_WORD.finditer(text))
        folded = [word[0].casefold() for word in words]
        found: list[tuple[int, int, str]] = []
        place = 0
        while place < len(words):
            start, joined, known = words[place].start(), "", None
            for after in range(place, min(place + MAX_WORDS, len(words))):
                joined, end = joined + folded[after], words[after].end()
                if len(joined) > self._longest or os.sep in text[start:end]:
                    break
                if joined in self._numbers:
                    known = joined, end, after + 1
            if known is None:
                found += self._within(words[place], number)
                place += 1
                continue
            joined, end, place = known
            own = number is not None and joined in self._of_patient[number]
            found.append((start, end, number or "" if own else self._numbers[joined]))
        return found

    def _within(self, word: re.Match, number: str | None) -> Iterator[tuple[int, int, str]]:
        """As `_spans`, for the patient's own identifiers as parts of a word."""
        lowered, pattern = word[0].lower(), self._own_pattern(number or "")
        if pattern and len(lowered) == len(word[0]):  # unlike those of some letters
            for part in pattern.finditer(lowered):
                yield word.start() + part.start(), word.start() + part.end(), number or ""

    def _own_pattern(self, number: str) -> re.Pattern | None:
        if number not in self._patterns:
            own = [text for text in self._of_patient.get(number, ()) if len(text) >= MIN_LENGTH]
            longest_first = sorted(own, key=len, reverse=True)
            alternatives = "|".join(map(re.escape, longest_first))
            self._patterns[number] = re.compile(alternatives) if own else None
        return self._patterns[number]


def without_identifiers(
    records: Sequence[ImageRecord], identifiers: Identifiers, root: str
) -> tuple[ImageRecord, ...]:
    """The records with paths, file names and factors in which no identifier is left.

    A record whose path changes keeps the old one as its `source`, to find the file again. Different
    paths stay different.

    Args:
        root: location of the data set, which stays as it is.
    """
    if not identifiers:
        return tuple(records)
    inside, taken, changed = os.path.join(root, ""), set(), []
    for record in records:
        below = record.path.removeprefix(inside)
        shown = new = identifiers.replace(below, record.patient)
        stem, extension = os.path.splitext(shown)
        for number in itertools.count(2):
            if new not in taken:
                break
            new = f"{stem}~{number}{extension}"
        taken.add(new)
        changes: dict = {}
        if new != below:
            changes["path"] = record.path.removesuffix(below) + new
            changes["source"] = record.source or record.path
            name = identifiers.replace(record.filename, record.patient, crosses=True)
            changes["filename"] = name
        if record.factors:
            changes["factors"] = {
                key: identifiers.replace(value, record.patient)
                for key, value in record.factors.items()
            }
        changed.append(dataclasses.replace(record, **changes) if changes else record)
    return tuple(changed)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(unicodedata.normalize("NFC", text))]


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
