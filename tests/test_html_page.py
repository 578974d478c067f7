"""The shared part of all pages: escaping, tables, embedded resources."""

import pathlib
import xml.etree.ElementTree as ElementTree

import jinja2
import pytest
from markupsafe import Markup

from covid_lm import html_page
from covid_lm.html_page import data_uri, escape_markdown, render, shorten

TEMPLATES = pathlib.Path(html_page.__file__).parent / "templates"
MACROS = '{% import "macros.html" as ui %}'


@pytest.fixture
def render_text(monkeypatch):
    """Renders a template given as text, with the package's own environment."""

    def rendered(source: str, file: str = "page.html", /, **values) -> str:
        loader = jinja2.ChoiceLoader(
            [jinja2.DictLoader({file: source}), html_page._ENVIRONMENT.loader]
        )
        monkeypatch.setattr(html_page, "_ENVIRONMENT", html_page._ENVIRONMENT.overlay())
        html_page._ENVIRONMENT.loader = loader
        return render(file, **values)

    return rendered


def test_html_is_escaped_in_text_and_in_attributes(render_text):
    text = "<b> & \"q\" 'a'"
    escaped = "&lt;b&gt; &amp; &#34;q&#34; &#39;a&#39;"
    page = render_text('<p title="{{ text }}">{{ text }}{{ 3 }}</p>', text=text)
    assert page == f'<p title="{escaped}">{escaped}3</p>'
    assert ElementTree.fromstring(page).get("title") == text


@pytest.mark.parametrize(
    ("name", "escaped"), [("page.html", r"bad\x01\xff\u202e"), ("page.md", r"bad\\x01\\xff\\u202e")]
)
def test_characters_that_xml_cannot_hold_are_escaped(render_text, name, escaped):
    assert render_text("{{ text }}", name, text="bad\x01\udcff\u202e") == escaped


def test_markup_of_the_package_is_kept(render_text):
    assert render_text("{{ text }}", text=Markup("<b>1</b>")) == "<b>1</b>"
    assert render_text("{{ text }}", "page.md", text=Markup("[1, 2]")) == "[1, 2]"


def test_plain_text_has_no_control_characters_and_no_escapes(render_text):
    assert render_text("{{ text }}", "page.txt", text="<_a_>\x1b[1m") == r"<_a_>\x1b[1m"


def test_an_undefined_name_is_an_error(render_text):
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        render_text("{{ missing }}")


def test_no_template_leaves_out_the_escaping():
    assert TEMPLATES / "base.html" in TEMPLATES.iterdir()
    for path in TEMPLATES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert path.suffix in (".html", ".md", ".txt")
        assert ".txt" not in text  # a page that includes plain text would not escape it
        assert "safe" not in text
        assert "autoescape" not in text


def test_line_breaks_are_kept_in_plain_text(render_text):
    assert render_text("{{ text }}", "page.txt", text="a\nb\té\udc80") == "a\nb\\té\\x80"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a | b\n\n# c", r"a \| b # c"),
        ("![x](y) `z` *b* ~~s~~ $m$", r"!\[x\](y) \`z\` \*b\* \~\~s\~\~ \$m\$"),
        ("covid_ct, _init_, __all__", r"covid_ct, \_init\_, \_\_all\_\_"),
        ("a \\ b &amp;", r"a \\ b &amp;amp;"),
        (203, "203"),
    ],
)
def test_markdown_is_escaped(render_text, text, escaped):
    assert escape_markdown(text) == escaped
    assert render_text("- {{ text }}.", "page.md", text=text) == f"- {escaped}."


def test_a_long_text_loses_its_middle():
    name = "n" * 30 + "-p8-41%1.png"
    assert shorten(name, 42) == name
    assert shorten(name, 20) == "nnnnnnnn\u2026p8-41%1.png"
    assert len(shorten("n" * 300)) == 60


def test_lists_leave_out_empty_lines(render_text):
    template = MACROS + "{{ ui.bullets(lines) }}"
    lines = ["a", "", "<b>"]
    assert render_text(template, lines=lines) == "<ul><li>a</li><li>&lt;b&gt;</li></ul>"
    assert render_text(template, lines=[""]) == ""


def test_a_table_is_escaped_and_can_be_scrolled_with_the_keyboard(render_text):
    region = ElementTree.fromstring(
        render_text(
            MACROS + "{{ ui.table(header, rows, 'Any & all') }}",
            header=("<", "n"),
            rows=[["<em>x</em>", Markup("<em>1</em>")]],
        )
    )
    assert region.attrib == {
        "class": "scroll",
        "role": "region",
        "tabindex": "0",
        "aria-label": "Any & all",
    }
    assert [cell.text for cell in region.iter("th")] == ["<", "n"]
    first, second = region.iter("td")
    assert first.text == "<em>x</em>"
    assert second.find("em").text == "1"


def test_a_figure_has_its_alternative_text_and_its_caption(render_text):
    template = MACROS + '{% call ui.figure("data:", name, "small") %}{{ name }}{% endcall %}'
    figure = ElementTree.fromstring(render_text(template, name='<a> "b"'))
    assert figure.find("img").attrib == {"class": "small", "alt": '<a> "b"', "src": "data:"}
    assert figure.find("figcaption").text == '<a> "b"'


def test_the_page_is_xml_too(render_text):
    page = render_text(
        '{% extends "base.html" %}{% block style %}p { color: red; }{% endblock %}'
        "{% block body %}<p>x</p>{% endblock %}",
        title="a < b",
    )
    assert page.startswith("<!DOCTYPE html>\n")
    root = ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    assert root.find("head/title").text == "a < b"
    assert root.find("head/style").text.endswith("\np { color: red; }")
    assert [child.tag for child in root.find("body")] == ["p"]


def test_data_uri():
    assert data_uri(b"\x00\xff", "image/png") == "data:image/png;base64,AP8="
