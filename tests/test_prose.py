"""Plain English: openings of docstrings, and words that a reader would have to translate."""

import ast
import io
import re
import tokenize

import pytest

from tests.python_source import FILES, TREES
from tests.test_readmes import TEXTS

OPENINGS = ("What", "Who", "How", "Where", "Whether", "Why")
WORDS = re.compile(r"\b(told|beside|anew|stands|broken off|goes on|gone on|alike)\b", re.IGNORECASE)


def prose(source: str) -> str:
    """The comments and strings of a module, a line each."""
    kinds = {
        tokenize.COMMENT,
        tokenize.STRING,
        getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING),
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(token.string for token in tokens if token.type in kinds)


def test_docstrings_open_with_a_noun_phrase_or_an_imperative():
    found = []
    for module, tree in TREES.items():
        nodes = (
            n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
        )
        for node in nodes:
            docstring = ast.get_docstring(node)
            if docstring and docstring.split()[0].strip(",:") in OPENINGS:
                found.append(f"{module}: {docstring.splitlines()[0]}")
    assert found == []


@pytest.mark.parametrize("module", FILES)
def test_no_archaic_words_in_the_source(module):
    assert WORDS.findall(prose(FILES[module].read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("name", TEXTS)
def test_no_archaic_words_in_the_readmes(name):
    assert WORDS.findall(TEXTS[name]) == []
