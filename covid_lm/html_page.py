"""Pages and Markdown from the templates of this package, escaped by default.

HTML pages are one file each: no script, no outside resource, light and dark, any width.
"""

import base64
import html
import re
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

# What Markdown or the HTML within it would interpret; an underscore only at the edge of a word.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")


def render(template: str, /, **values: object) -> str:
    """A page from a file in `covid_lm/templates`.

    Every value is escaped for the kind of file that the template's name ends with (`.html` or
    `.md`), except `Markup`: the results of macros and `{% set %}` blocks in HTML, and what a
    function of this package returns as such. An undefined name raises `jinja2.UndefinedError`.

    Args:
        template: the file's name.
        values: the template's variables.
    """
    return _ENVIRONMENT.get_template(template).render(**values)


def printable(value: object) -> str:
    """Text with U+FFFD for control characters and lone surrogates, which XML can't hold."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))


def escape_markdown(value: object) -> str:
    """Text on one line that Markdown shows as it is, in a sentence or in a table's cell."""
    text = html.escape(" ".join(printable(value).split()), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", text)


def shorten(text: str, most: int = 60) -> str:
    """Text of at most `most` (> 12) characters: a longer one keeps its start and its last 11."""
    return text if len(text) <= most else f"{text[: most - 12]}\u2026{text[-11:]}"


def data_uri(content: bytes, media_type: str) -> str:
    """A resource embedded in the page."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


@jinja2.pass_eval_context
def _finalize(context: jinja2.nodes.EvalContext, value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    return printable(value) if context.autoescape else escape_markdown(value)


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


# Replaced by the templates; deleted as soon as the last page is one.
_STYLE = """
:root { color-scheme: light dark; --text: #1c2126; --dim: #57606a; --page: #ffffff;
  --card: #f5f7f9; --line: #d3d9df; --high: #b3261e; --medium: #8a5a00; --low: #1f6391;
  --info: #57606a; --bar: #1f6391; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ea; --dim: #9aa4ae; --page: #14181c;
  --card: #1d2329; --line: #37404a; --high: #ff8a80; --medium: #f0b849; --low: #7cc0f0;
  --info: #9aa4ae; --bar: #7cc0f0; } }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; } p, ul { margin: .35rem 0; } ul { padding-left: 1.2rem; }
.dim, figcaption { color: var(--dim); font-size: .875rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .875rem; width: 100%; }
th, td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line);
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9rem; }
:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
figure { margin: 0; }
"""


def html_page(title: str, style: str, parts: Sequence[str]) -> str:
    """The page; well-formed as XML, too.

    Args:
        title: plain text.
        style: the page's own CSS, after the shared one.
        parts: the body's parts, HTML; empty ones are left out.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escaped(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def escaped(value: object) -> str:
    """Text as HTML, free of what XML can't hold: control characters and lone surrogates."""
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    return html.escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text))


def bullet_list(lines: Sequence[str]) -> str:
    """Plain lines as a list; empty ones are left out."""
    items = "".join(f"<li>{escaped(line)}</li>" for line in lines if line)
    return f"<ul>{items}</ul>" if items else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> str:
    """A table that scrolls sideways, by keyboard too, where it is wider than the page.

    Args:
        header: plain text.
        rows: cells that are HTML already.
        label: what the table holds, for those who hear the page.
    """
    head = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return scrolling(f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>", label)


def scrolling(content: str, label: str) -> str:
    """HTML that may be wider than the page, in a region that takes the keyboard's focus."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(label)}">'
        f"{content}</div>"
    )


elided = shorten
