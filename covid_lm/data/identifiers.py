"""Patients' names and identifiers, replaced wherever a text of a data set has them.

Patients are numbered. In a path the number takes the place of the identifier. In a file name there
are crosses instead, as many as characters, since a model may use the name's length.
"""

import collections
import dataclasses
import itertools
import os
import re
from collections.abc import Collection, Iterable, Sequence

from covid_lm.data.records import SPLIT_NAMES, ImageRecord

MIN_LENGTH = 4  # of an identifier; shorter ones, such as "17", identify nobody
MIN_NAME_LENGTH = 3  # of a part of a name
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
        self._by_first: dict[str, dict[tuple[str, ...], str]] = collections.defaultdict(dict)
        self._by_number: dict[str, set[str]] = collections.defaultdict(set)

    def add(self, texts: Iterable[str], number: str, names: Iterable[str] = ()) -> None:
        """Adds identifiers and names of the patient with a number; parts of names count, too.

        An identifier of several words without digits is taken as a name.
        """
        texts = [*texts]
        names = [*names, *(text for text in texts if _NAME.fullmatch(text))]
        for text in [*texts, *names]:
            self._add(tuple(_words(text)), number, MIN_LENGTH)
        for name in names:
            for word in _words(name):
                self._add((word,), number, MIN_NAME_LENGTH)

    def _add(self, words: tuple[str, ...], number: str, shortest: int) -> None:
        joined = "".join(words)
        if len(joined) < shortest or {*words} <= self._kept or joined in self._kept:
            return
        for form in {words, words[::-1], (joined,)}:
            self._by_first[form[0]].setdefault(form, number)
        self._by_number[number].add(joined)

    def __bool__(self) -> bool:
        return bool(self._by_first)

    def replace(self, text: str, number: str | None = None, crosses: bool = False) -> str:
        """The text with the patients' numbers in place of identifiers.

        Args:
            number: of the patient that the text is of, whose identifiers are also found within
                words.
            crosses: put crosses of the same length there.
        """
        if not self:
            return text
        spans = self._spans(text, number)
        for start, end, owner in reversed(spans):
            new = "x" * (end - start) if crosses else f"patient-{owner}"
            text = text[:start] + new + text[end:]
        return text

    def _spans(self, text: str, number: str | None) -> list[tuple[int, int, str]]:
        """Start, end and patient of each identifier, in order, without overlaps."""
        words = list(_WORD.finditer(text))
        folded = [word[0].casefold() for word in words]
        found: list[tuple[int, int, str]] = []
        place = 0
        while place < len(words):
            forms = self._by_first.get(folded[place], {})
            best = max((f for f in forms if _fits(f, text, words[place:])), key=len, default=None)
            if best:
                end = words[place + len(best) - 1].end()
                owner = forms[best]
                if number is not None and "".join(best) in self._by_number[number]:
                    owner = number  # of several patients with one first name
                found.append((words[place].start(), end, owner))
                place += len(best)
                continue
            found += self._within(words[place], number)
            place += 1
        return found

    def _within(self, word: re.Match, number: str | None) -> list[tuple[int, int, str]]:
        """The longest identifier of the patient with a number that is a part of the word."""
        lowered = word[0].lower()
        if number is None or len(lowered) != len(word[0]):  # some letters have no lower case
            return []
        for joined in sorted(self._by_number[number], key=len, reverse=True):
            start = word.start() + lowered.find(joined)
            if len(joined) > MIN_LENGTH and start >= word.start():
                return [(start, start + len(joined), number)]
        return []


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
            changes["source"] = record.path
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
    return [word.casefold() for word in _WORD.findall(text)]


def _fits(form: tuple[str, ...], text: str, words: Sequence[re.Match]) -> bool:
    """True if the words of a text begin with those of an identifier, in one part of a path."""
    own = words[: len(form)]
    between = text[own[0].start() : own[-1].end()]
    return tuple(word[0].casefold() for word in own) == form and os.sep not in between
