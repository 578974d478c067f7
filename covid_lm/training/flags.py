"""Options as dataclass fields: their flags, their checks, and the command that repeats a run.

`option` makes a field, and `FlagOptions` is the base class. Imports no TensorFlow.
"""

import dataclasses
import math
import shlex
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from absl import flags

from covid_lm.command_line import PathParser
from covid_lm.errors import InputError, one_line
from covid_lm.protocols import without_removed_options

flags.disclaim_key_flags()  # --help of a tool lists them as its own


class Bound(NamedTuple):
    """A range of valid numbers; `text` completes "must be ..."."""

    text: str
    contains: Callable[[float], bool]


AT_LEAST_0 = Bound("at least 0", lambda value: 0 <= value < math.inf)
AT_LEAST_1 = Bound("at least 1", lambda value: value >= 1)
BELOW_1 = Bound("at least 0 and below 1", lambda value: 0 <= value < 1)
ABOVE_0 = Bound("above 0", lambda value: 0 < value < math.inf)
INPUT, OUTPUT_FOLDER = PathParser("input"), PathParser("output folder")
LOCAL_FOLDER = PathParser("local folder")


def option(
    default: Any,
    help_text: str = "",
    valid: tuple[str, ...] | Bound | PathParser | None = None,
    *,
    flag: str | None = "",
    separated: bool = False,
    must_match: bool = True,
    in_folds: bool = True,
    shown: str | None = "",
) -> Any:
    """Returns a dataclass field for an option.

    Args:
        help_text: of its flag.
        valid: its choices, the `Bound` of its numbers, or a `PathParser`; None for any value.
        flag: name of its flag if that isn't the field's own; None for an option without a flag.
        separated: True for a tuple whose flag is given once, with commas between the values;
            otherwise it is given once for each value.
        must_match: True if a resumed run must repeat it, since the result depends on it.
        in_folds: True if cross-validation has it, too.
        shown: printed for a private value in the command that repeats a run; None for an option
            that the command leaves out.
    """
    metadata = {name: value for name, value in locals().items() if name != "default"}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class FlagOptions:
    """Options whose flags are made from the fields; a direct subclass has those that others share.

    A subclass may have RECIPES, named sets of values; the flag RECIPE_FLAG chooses one of them.
    """

    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {}
    RECIPE_FLAG: ClassVar[str] = "recipe"

    def __post_init__(self):
        for field in self.options():
            valid, value = field.metadata["valid"], getattr(self, field.name)
            for item in value if isinstance(value, tuple) else (value,):
                flag = f"--{_flag_name(field)}={item}"
                if isinstance(valid, Bound) and item is not None and not valid.contains(item):
                    raise InputError(f"{flag}: must be {valid.text}")
                if type(valid) is tuple and item not in (None, *valid):
                    raise InputError(f"{flag}: choose one of {', '.join(valid)}")

    @classmethod
    def options(cls) -> list[dataclasses.Field]:
        """The fields, those of the class itself before inherited ones."""
        return sorted(dataclasses.fields(cls), key=lambda f: f.name not in cls.__annotations__)

    @classmethod
    def define_flags(cls, values: flags.FlagValues = flags.FLAGS, in_folds: bool = False) -> None:
        """Defines a flag for every option that has one; `in_folds` leaves out the others."""
        for field in cls.options():
            if field.metadata["flag"] is not None and (field.metadata["in_folds"] or not in_folds):
                _define_flag(field, values)

    @classmethod
    def from_flags(cls, values: flags.FlagValues = flags.FLAGS, **more: Any) -> Self:
        """The options that parsed flags, or else the recipe, and `more` give.

        Raises:
            InputError: options that are invalid or don't go together.
        """
        recipe = cls.RECIPES[str(values[cls.RECIPE_FLAG].value)] if cls.RECIPES else {}
        for field in cls.options():
            if _flag_name(field) in values and field.name not in more:
                flag = values[_flag_name(field)]
                value = flag.value if flag.present else recipe.get(field.name, flag.value)
                more[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**more)

    def flags(self, *left_out: str) -> str:
        """Flags of the options that aren't at their defaults, quoted, each with a space before it.

        A recipe's values are given next to its name: the recipe may change later.
        """
        recipe, words = self.RECIPES.get(getattr(self, self.RECIPE_FLAG, ""), {}), [""]
        for field in self.options():
            value, shown = getattr(self, field.name), field.metadata["shown"]
            if shown is None or field.name in left_out:
                continue
            if value == self.default(field) == recipe.get(field.name, value):
                continue
            for item in value if isinstance(value, tuple) else (value,):
                valid = field.metadata["valid"]
                public = isinstance(valid, PathParser) and valid.is_name(item)
                value = str(item) if public else shown or str(item)
                if item is None:
                    value = "none"  # where that is not the default
                text = "" if item is True else f"={shlex.quote(value)}"
                words.append(f"--{_flag_name(field)}{text}")
        return " ".join(words)

    def default(self, field: dataclasses.Field) -> Any:
        """The value of an option whose flag isn't given."""
        return field.default

    def must_match(self, field: dataclasses.Field) -> bool:
        """True if a resumed run must repeat the option."""
        return field.metadata["must_match"]

    def check_resumable(self, stored: Mapping, place: str, resolved: Mapping | None = None) -> None:
        """Checks that a stored run can be resumed with these options.

        Args:
            stored: values of the stored run by name. It has the defaults of options that are newer.
            place: the run's directory, for the message.
            resolved: values derived from options and data, such as the actual batch size and
                digests of the images, each of which must match, too.

        Raises:
            InputError: values that must match differ; the message names the flags, or says that the
                data changed.
        """
        fields = {field.name: field for field in self.options() if self.must_match(field)}
        current = {name: getattr(self, name) for name in fields}
        stored, options, data = without_removed_options({**stored}, place), [], []
        for name, value in {**current, **(resolved or {})}.items():
            default = self.default(fields[name]) if name in fields else None
            before = stored.get(name, default)
            before = tuple(before) if isinstance(before, list) else before
            if value != before and name in fields:
                options.append(
                    f"{_shown(fields[name], before)} (now {_shown(fields[name], value)})"
                )
            elif value != before:
                data.append(f"other data ({name.replace('_', ' ')} {before}, now {value})")
        remedies = [*["repeat its flags"][: len(options)], *["restore the data"][: len(data)]]
        if remedies:
            raise InputError(
                f"{place}: holds a run with {', '.join(map(one_line, options + data))}; "
                f"{' and '.join(remedies)} to resume it, give another --name, or remove the "
                "directory"
            )


def _flag_name(field: dataclasses.Field) -> str:
    return field.metadata["flag"] or field.name


def _shown(field: dataclasses.Field, value: Any) -> str:
    """The option with its value, as on the command line if it has a flag."""
    if field.metadata["flag"] is None:
        return f"{field.name} {value}"
    if value is None:
        return f"no --{_flag_name(field)}"
    items = value if isinstance(value, tuple) else (value,)
    return " ".join(f"--{_flag_name(field)}={item}" for item in items)


def _define_flag(field: dataclasses.Field, values: flags.FlagValues) -> None:
    name, valid, help_text = _flag_name(field), field.metadata["valid"], field.metadata["help_text"]
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind, _ = typing.get_args(kind)  # the other is None
    is_tuple = typing.get_origin(kind) is tuple
    item = typing.get_args(kind)[0] if is_tuple else kind
    parser: flags.ArgumentParser = flags.ArgumentParser()
    if item in (int, float):
        parser = flags.IntegerParser() if item is int else flags.FloatParser()
    elif isinstance(valid, PathParser):
        parser = valid
    elif type(valid) is tuple:
        parser, help_text = flags.EnumParser(list(valid)), f"<{'|'.join(valid)}>: {help_text}"
    default: Any = field.default
    if field.metadata["separated"]:
        flags.DEFINE(_ListParser(parser), name, default, help_text, values)
    elif is_tuple:
        serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
        flags.DEFINE_multi(parser, serializer, name, default, help_text, flag_values=values)
    elif kind is bool:
        flags.DEFINE_bool(name, default, help_text, flag_values=values)
    else:
        flags.DEFINE(parser, name, default, help_text, values)


class _ListParser(flags.ArgumentParser):
    """Parses values that commas separate."""

    syntactic_help = "a comma-separated list"

    def __init__(self, item: flags.ArgumentParser):
        super().__init__()
        self.item = item

    def parse(self, argument: str | Sequence) -> list:
        items = argument.split(",") if isinstance(argument, str) else argument
        return [self.item.parse(item) for item in items]
