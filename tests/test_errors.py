"""Text from outside: shown with escapes, named apart, and as names of files."""

import io
import os
import sys
import unicodedata

import numpy as np
import pytest

from covid_lm.command_line import VisibleOutput
from covid_lm.errors import named_apart, one_line, reason, safe_names, visible

# Letters, look-alikes of each other, parts of escapes, controls, and bytes that are not UTF-8.
ALPHABET = [*"ab.-/\\'xe9n01:*", "é", "e\u0301", "Å", "\u212b", "\n", "\x1b", "\udce9", "\u202e"]


def random_names(seed: int, count: int = 8, longest: int = 4) -> list[str]:
    rng = np.random.default_rng(seed)
    names = ("".join(rng.choice(ALPHABET, rng.integers(1, longest + 1))) for _ in range(count))
    return list(dict.fromkeys(names))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é and \u4e2d", "plain, é and \u4e2d"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\u202egnp.exe\u200b\u2028", r"\u202egnp.exe\u200b\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_messages_of_others_are_one_visible_line():
    assert one_line("a\n b\x1b[2J") == r"a b\x1b[2J"
    assert reason(ValueError("x\udcff\ny")) == r"x\xff y"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a", "b c"], ["a", "b c"]),
        (["caf\xe9", "cafe\u0301", "x"], [r"caf\xe9", r"cafe\u0301", "x"]),
        (["a\nb", r"a\nb", "é"], [r"a\nb", r"a\\nb", "é"]),
        # The escape of a name can be the name of another one.
        (["é", "e\u0301", r"\xe9"], [r"\xe9", r"e\u0301", r"\\xe9"]),
        ([], []),
    ],
)
def test_names_that_look_the_same_are_named_apart(names, shown):
    assert list(named_apart(names).values()) == shown


def test_any_names_are_named_apart():
    for seed in range(1000):
        names = random_names(seed)
        shown = named_apart(names)
        assert list(shown) == names
        assert len({unicodedata.normalize("NFC", text) for text in shown.values()}) == len(names)
        assert all(text.isprintable() for text in shown.values())


def test_safe_names_are_close_to_the_originals():
    names = ["a.png", "A.PNG", "dir/x.png", "a.png", ".hidden", "é,%.jpg", "\x1bc.png", "n" * 255]
    assert safe_names(names) == [
        "a.png",
        "A-2.PNG",
        "dir_x.png",
        "a-3.png",
        "hidden",
        "é,%.jpg",
        "_c.png",
        "n" * 200,
    ]
    assert safe_names(["\u4e2d" * 84 + ".png"] * 2) == [
        "\u4e2d" * 65 + ".png",
        "\u4e2d" * 64 + "-2.png",
    ]


def test_safe_names_can_all_be_written(tmp_path):
    for seed in range(50):
        names = [name * 60 for name in random_names(seed)] + [""] * 2
        safe = safe_names(names)
        directory = tmp_path / str(seed)
        directory.mkdir()
        for name in safe:
            (directory / f"{name}.part-of-a-file").touch(exist_ok=False)
        assert len({unicodedata.normalize("NFD", name).casefold() for name in safe}) == len(names)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_output_in_any_encoding(encoding):
    buffer = io.BytesIO()
    output = VisibleOutput(io.TextIOWrapper(buffer, encoding))
    print("é\x1b[31m\udce9\u20ac\r", file=output)
    print("a\tb", file=output, flush=True)
    expected = {"utf-8": "é{}\u20ac", "latin-1": r"é{}\u20ac", "ascii": r"\xe9{}\u20ac"}[encoding]
    text = expected.format(r"\x1b[31m\xe9") + "\\r\na\tb\n"
    assert buffer.getvalue() == text.encode(encoding)


def test_progress_bars_return_to_the_start_of_the_line(monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, "utf-8"))
    output = VisibleOutput(sys.stderr)
    output.write("1%\r2%\x1b[A")
    assert buffer.getvalue() == b"1%\r2%\\x1b[A"
