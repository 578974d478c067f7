"""Pages and Markdown from the templates of this package, escaped by default.

HTML pages are one file each: no script, no outside resource, light and dark, any width.
"""

import base64
import html
import re
from typing import Any

import jinja2
from markupsafe import Markup

from covid_lm.errors import visible

# Characters with a meaning in Markdown; an underscore has one only at the edge of a word.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")


def render(template: str, /, **values: object) -> str:
    """Renders a file of `covid_lm/templates` with the given variables.

    Every value is escaped for HTML or Markdown, according to the suffix of the template's name
    (`.html` or `.md`), except a `Markup`: macros, `{% set %}` blocks and what this package makes.
    In `.txt` a value only becomes `visible`. Line breaks are kept in `.html` and `.txt`.

    Raises:
        jinja2.UndefinedError: the template uses a variable that is not in `values`.
    """
    return _ENVIRONMENT.get_template(template).render(**values)


def escape_markdown(value: object) -> str:
    """Escapes a text for one line of Markdown, in a sentence or in the cell of a table."""
    text = html.escape(visible(" ".join(str(value).split())), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", text)


def shorten(text: str, most: int = 60) -> str:
    """Shortens a text to `most` (> 12) characters: its start, an ellipsis and its last 11."""
    return text if len(text) <= most else f"{text[: most - 12]}\u2026{text[-11:]}"


def data_uri(content: bytes, media_type: str) -> str:
    """Encodes a resource that is embedded in the page."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@jinja2.pass_context
def _finalize(context: jinja2.runtime.Context, value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return (
        escape_markdown(value) if str(context.name).endswith(".md") else visible(str(value), "\n")
    )


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("covid_lm"),
    autoescape=jinja2.select_autoescape(["html"]),
    finalize=_finalize,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["shorten"] = shorten
