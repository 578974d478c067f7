"""Who may import whom: a module knows what it stands on, and nothing that stands on it."""

import ast
import graphlib

from tests.python_source import FILES, TREES

# Top-level packages and modules, from the ground up. Each may import its own package, those of its
# own line and those of the lines above; what is not named stands on the last line but the tools'.
ORDER = (
    ("errors", "protocols"),
    ("command_line", "file_system", "html_page", "cloud_tpu", "machine"),
    ("layers",),
    ("backbones", "preprocessor", "masked_lm_metrics"),
    ("data", "classifier", "pixel_classifier", "averaged_classifier", "masked_lm"),
    ("run_directory", "classifier_files"),
    ("evaluation",),
    ("serving",),
    ("audit",),
    ("report",),
    (),  # training, pre-training, their parts, and whatever else makes or measures a whole run
    ("tools",),
)
LINES = {name: line for line, names in enumerate(ORDER) for name in names}
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60


def imports(module: str) -> set[str]:
    """Modules of this project that a module imports anywhere, in functions too."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports by full name, please"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in FILES else node.module)
    return found & FILES.keys()


def top_level(module: str) -> str:
    return module.removeprefix("covid_lm.").split(".")[0]


def line(module: str) -> int:
    return LINES.get(top_level(module), len(ORDER) - 2)


def test_every_name_of_the_order_is_a_module():
    assert LINES.keys() <= {top_level(module) for module in FILES}


def test_imports_run_one_way():
    upward = [
        f"{module} imports {imported}"
        for module in FILES
        for imported in sorted(imports(module) - {"covid_lm"})
        if line(imported) > line(module)
    ]
    assert upward == [], "move what both need down, or give a new module its place in ORDER"


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: imports(module) for module in FILES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("covid_lm.errors") < order.index("covid_lm.training")


def test_packages_of_one_line_stand_on_each_other_one_way():
    graph: dict[str, set[str]] = {}
    for module in FILES:
        known = {top_level(imported) for imported in imports(module)} - {top_level(module)}
        graph.setdefault(top_level(module), set()).update(known)
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("layers") < order.index("tools")


def test_modules_and_functions_are_short():
    modules = {
        module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in FILES.items()
    }
    functions = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: n for name, n in modules.items() if n > MAX_MODULE_LINES} == {}
    assert {name: n for name, n in functions.items() if n > MAX_FUNCTION_LINES} == {}


def test_prediction_from_an_export_needs_no_model_code():
    needed: set[str] = set()
    waiting = {"covid_lm.serving.predict", "covid_lm.serving.client", "covid_lm.serving.model_path"}
    while waiting:
        module = waiting.pop()
        needed.add(module)
        waiting |= imports(module) - needed
    assert {top_level(module) for module in needed} <= {
        "covid_lm",
        "errors",
        "file_system",
        "serving",
    }
    assert "keras" not in "".join(ast.unparse(TREES[module]) for module in needed)
