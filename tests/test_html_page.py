"""What the pages share: escaping, tables, resources."""

import xml.etree.ElementTree as ElementTree

from covid_lm.html_page import bullet_list, data_uri, elided, escaped, html_page, scrolling, table


def test_text_is_escaped_and_free_of_what_xml_cannot_hold():
    assert escaped("<b> & \"q\" 'a'") == "&lt;b&gt; &amp; &quot;q&quot; &#x27;a&#x27;"
    assert escaped("bad\x01\udcff") == "bad\ufffd?"
    assert escaped(3) == "3"


def test_a_long_text_loses_its_middle():
    name = "n" * 30 + "-p8-41%1.png"
    assert elided(name, 42) == name
    assert elided(name, 20) == "nnnnnnnn\u2026p8-41%1.png"
    assert len(elided("n" * 300)) == 60


def test_lists_leave_out_empty_lines():
    assert bullet_list(["a", "", "<b>"]) == "<ul><li>a</li><li>&lt;b&gt;</li></ul>"
    assert bullet_list([""]) == ""


def test_a_table_escapes_its_header_only_and_takes_the_keyboards_focus():
    content = table(("<", "n"), [["<em>x</em>", "1"]], "Any & all")
    region = ElementTree.fromstring(content)
    assert region.attrib == {
        "class": "scroll",
        "role": "region",
        "tabindex": "0",
        "aria-label": "Any & all",
    }
    assert [cell.text for cell in region.iter("th")] == ["<", "n"]
    assert region.find(".//em").text == "x"
    assert scrolling("<p/>", "a").endswith('aria-label="a"><p/></div>')


def test_the_page_is_xml_too():
    page = html_page("a < b", "p { color: red; }", ["<p>x</p>", ""])
    root = ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    assert root.find("head/title").text == "a < b"
    assert [child.tag for child in root.find("body")] == ["p"]


def test_data_uri():
    assert data_uri(b"\x00\xff", "image/png") == "data:image/png;base64,AP8="
