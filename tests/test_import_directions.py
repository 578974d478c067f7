"""Import levels: a module imports its own package and lower levels only."""

import ast
import graphlib

from tests.python_source import FILES, TREES

# Top-level packages and modules, from the ground up. Each may import itself and lower levels.
ORDER = (
    ("covid_lm", "errors"),
    ("files", "html_page", "layers", "protocols"),
    ("backbones", "command_line", "data", "environment"),
    ("models",),
    ("pipeline",),
    ("evaluation", "serving", "training"),
    ("auditing", "benchmark", "cross_validate", "export", "objectives", "report", "results"),
    ("evaluation_run", "pretrain", "training_run"),
    ("api", "tools"),
)
LEVELS = {name: level for level, names in enumerate(ORDER) for name in names}
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
    return "tools" if module.startswith("tools") else module.removeprefix("covid_lm.").split(".")[0]


def level(module: str) -> int:
    return LEVELS[top_level(module)]


def test_every_top_level_name_has_its_level():
    assert LEVELS.keys() == {top_level(module) for module in FILES}


def test_imports_run_downward():
    upward = [
        f"{module} imports {imported}"
        for module in FILES
        for imported in sorted(imports(module) - {"covid_lm"})
        if top_level(imported) != top_level(module) and level(imported) >= level(module)
    ]
    assert upward == [], "move what both need down"


def test_no_module_imports_itself_by_way_of_others():
    graph = {module: imports(module) for module in FILES}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert order.index("covid_lm.errors") < order.index("covid_lm.training_run")


def test_the_plan_stays_small():
    modules = [module for module in FILES if not module.startswith("tools")]
    loose = [
        module for module in modules if module.count(".") == 1 and FILES[module].stem != "__init__"
    ]
    assert len(ORDER) <= 9
    assert len(loose) + 1 <= 12
    assert len(modules) <= 235


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
    waiting = {"covid_lm.serving.predict", "covid_lm.serving.client", "covid_lm.serving.versions"}
    while waiting:
        module = waiting.pop()
        needed.add(module)
        waiting |= imports(module) - needed
    assert {top_level(module) for module in needed} <= {
        "covid_lm",
        "data",
        "errors",
        "files",
        "layers",
        "serving",
    }
    from_layers = {module for module in needed if top_level(module) == "layers"}
    assert from_layers <= {"covid_lm.layers", "covid_lm.layers.image_kinds"}
    assert "keras" not in "".join(ast.unparse(TREES[module]) for module in needed)
