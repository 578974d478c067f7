"""Columns of a table: the one of each role, and those that are kept as factors."""

from collections.abc import Mapping, Sequence

from covid_lm.data.identifiers import PRIVATE_COLUMNS
from covid_lm.data.reading import ROLES
from covid_lm.data.splits_file import NUMBER
from covid_lm.data.table_rows import PATH_COLUMNS
from covid_lm.errors import InputError, named_apart, visible

# Names of columns, in lower case without spaces, dots, hyphens and underscores; the first that the
# table has is taken.
ALIASES = {
    "path": (
        *("path", "image", "file", "filename", "imagepath", "filepath"),
        *("imagefile", "imagename"),
    ),
    "label": ("label", "class", "target", "diagnosis", "finding"),
    "split": ("split", "fold", "set", "subset"),
    "patient": (
        *("patient", "patientid", "subject", "subjectid", "case", "caseid"),
        *("group", "groupid"),
    ),
}


def find_columns(
    name: str,
    present: Sequence[str],
    given: Mapping[str, str],
    needed: Sequence[str] = ROLES[:2],
) -> dict[str, str]:
    """The column of each role that the table has; InputError if it lacks one of the `needed`."""
    found, names = {}, ", ".join(present)
    plain = {_plain(column): column for column in reversed(present)}
    for role in ROLES:
        if role in given:
            if given[role] not in present and given[role]:
                flag = f"--columns={role}={given[role]}"
                raise InputError(visible(f"{flag}: {name} has no such column, but {names}"))
            column = given[role]
        else:
            taken = {*given.values()}
            known = (plain[alias] for alias in ALIASES[role] if alias in plain)
            column = next((column for column in known if column not in taken), "")
        if column:
            found[role] = column
        elif role in needed:
            problem = f"no column is the {role} among {names}; give --columns={role}=NAME"
            raise InputError(visible(f"{name}: {problem}"))
    return found


def count_known(columns: Sequence[str]) -> int:
    """The number of columns that have one of the `ALIASES`."""
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    return len(known & {*map(_plain, columns)})


def _plain(column: str) -> str:
    return "".join(c for c in column.lower() if c not in " _-.")


def other_columns(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns to keep as factors, and those that identify patients."""
    others = [name for name in names if name not in (*PATH_COLUMNS, NUMBER)]
    private = [name for name in others if _plain(name) in PRIVATE_COLUMNS]
    return [name for name in others if name not in private], private


def factor_names(columns: Sequence[str]) -> dict[str, str]:
    """The factor of each column: its visible name, another one for each, that is no role's."""
    shown = named_apart(columns)
    free = {c: f"{name} (factor)" if name in ROLES else name for c, name in shown.items()}
    return shown if len({*free.values()}) < len(free) else free
