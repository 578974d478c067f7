"""The part of JSON Schema that `audit.schema.json` uses."""

from collections.abc import Iterator
from typing import Any

_TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
_NOTES = {"$schema", "$defs", "title", "description"}
_ONLY_OF = {  # a keyword holds for any value of another type
    **dict.fromkeys(("required", "properties"), dict),
    **dict.fromkeys(("items", "minItems", "maxItems"), list),
    **dict.fromkeys(("minimum", "maximum"), (int, float)),
}


def violations(value: Any, schema: dict, root: dict, place: str = "$") -> Iterator[str]:
    """Violations of a schema with their places; ValueError for an unknown keyword."""
    for keyword, wanted in schema.items():
        if keyword in _NOTES or not isinstance(value, _ONLY_OF.get(keyword, object)):
            continue
        if keyword == "$ref":
            target = root
            for key in wanted.removeprefix("#").split("/")[1:]:
                target = target[key]
            yield from violations(value, target, root, place)
        elif keyword == "anyOf":
            if all([*violations(value, option, root, place)] for option in wanted):
                yield f"{place}: none of anyOf"
        elif keyword == "type":
            names = [wanted] if isinstance(wanted, str) else wanted
            number = isinstance(value, bool) and "boolean" not in names
            if number or not any(isinstance(value, _TYPES[name]) for name in names):
                yield f"{place}: {value!r} is not of type {wanted}"
        elif keyword == "enum":
            if value not in wanted:
                yield f"{place}: {value!r} is not one of {wanted}"
        elif keyword == "required":
            yield from (f"{place}: no {name}" for name in wanted if name not in value)
        elif keyword == "properties":
            for name in filter(value.__contains__, wanted):
                yield from violations(value[name], wanted[name], root, f"{place}.{name}")
        elif keyword == "items":
            for index, item in enumerate(value):
                yield from violations(item, wanted, root, f"{place}[{index}]")
        elif keyword in ("minItems", "maxItems"):
            if (len(value) < wanted) if keyword == "minItems" else (len(value) > wanted):
                yield f"{place}: {len(value)} items"
        elif keyword in ("minimum", "maximum"):
            if (value < wanted) if keyword == "minimum" else (value > wanted):
                yield f"{place}: {value}"
        else:
            raise ValueError(f"{keyword}: not a keyword that this function knows")
