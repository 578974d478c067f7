"""The package's and the tools' source, parsed and never imported: what the tests of it look at."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
# Module name, `covid_lm.data` for its `__init__`, to its file.
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("covid_lm", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in FILES.items()}
