"""Which modules the compiled build compiles."""

import ast
from pathlib import Path

__all__ = ["compiled_modules"]

_SETUP = Path(__file__).parents[2] / "setup.py"


def compiled_modules() -> list[str]:
    """`COMPILED` of setup.py: paths below the project's directory."""
    for node in ast.parse(_SETUP.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise AssertionError("setup.py has no COMPILED")
