"""Everything public says what it is: modules, classes, functions, methods and properties."""

import ast
from collections.abc import Iterator

from tests.python_source import TREES

# What Keras asks a layer, a metric or a callback for: the class says what they do here.
OF_KERAS = {
    "build",
    "call",
    "compute_output_shape",
    "compute_output_spec",
    "from_config",
    "get_config",
    "update_state",
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_train_begin",
    "on_train_end",
}

LAYERS = {"keras.layers.Layer", "TensorFlowLayer"}

# Methods of each class with a docstring: an override of one needs none of its own.
DOCUMENTED = {
    node.name: {
        method.name
        for method in node.body
        if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
    }
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def undocumented(module: str, tree: ast.Module) -> Iterator[str]:
    """Names without a docstring."""
    if tree.body and ast.get_docstring(tree) is None:
        yield module
    yield from _undocumented_in(module, tree)


def _undocumented_in(place: str, node: ast.Module | ast.ClassDef) -> Iterator[str]:
    inherited = OF_KERAS.union(
        *(DOCUMENTED.get(ast.unparse(base), ()) for base in getattr(node, "bases", ()))
    )
    for child in node.body:
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if not (is_function or isinstance(child, ast.ClassDef)) or child.name.startswith("_"):
            continue
        name = f"{place}.{child.name}"
        if is_function and isinstance(node, ast.ClassDef) and child.name in inherited:
            continue
        if is_function and place.startswith("tools.") and child.name in ("main", "options"):
            continue  # the module's docstring describes the tool, and --help shows it
        if ast.get_docstring(child) is None:
            yield name
        if isinstance(child, ast.ClassDef):
            yield from _undocumented_in(name, child)


def test_everything_public_has_a_docstring():
    missing = [name for module, tree in TREES.items() for name in undocumented(module, tree)]
    assert missing == []


def test_what_the_check_finds():
    source = '''
"""Text."""
class Shown:
    def call(self): ...
    def named(self): ...
    @property
    def size(self): ...
    def _hidden(self): ...
def public():
    """Text."""
    def inner(): ...
class _Hidden:
    def named(self): ...
'''
    found = list(undocumented("m", ast.parse(source)))
    assert found == ["m.Shown", "m.Shown.named", "m.Shown.size"]
    assert list(undocumented("m", ast.parse("x = 1"))) == ["m"]
    assert list(undocumented("m", ast.parse(""))) == []


def test_every_layer_of_the_paper_says_what_it_does():
    layers = [
        node
        for module, tree in TREES.items()
        if module.startswith("covid_lm.layers.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and LAYERS & set(map(ast.unparse, node.bases))
    ]
    assert len(layers) >= 7
    assert [layer.name for layer in layers if ast.get_docstring(layer) is None] == []
