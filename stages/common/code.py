"""Hashes of modules and of all that they import from this project: what computed a result.

Found from the import statements, wherever in a module they stand; of syntax trees without docstrings, so that a comment
or another layout of the lines changes nothing.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def hashes(modules: Iterable[str]) -> dict[str, str]:
    """Module → hash, of `modules`, of what they import from this project, and so on; with their packages, sorted."""
    found, names = {}, list(modules)
    while names:
        name = names.pop()
        if name not in found and _file(name):
            found[name], imported = _read(name)
            names += [*imported, *_packages(name)]
    return dict(sorted(found.items()))


def _file(module: str) -> Path | None:
    """Where a module of this project lies; None for what is not a module of it, such as a function's name."""
    path = PROJECT / module.replace(".", "/")
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


def _packages(module: str) -> list[str]:
    """All packages that a module lies in: Python runs their `__init__` when it imports the module."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


@functools.cache
def _read(module: str) -> tuple[str, list[str]]:
    """A module's hash and all names that it imports."""
    file = _file(module)
    tree = ast.parse(file.read_bytes(), str(file))
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names = [name for node in ast.walk(tree) for name in _imported(node, package)]
    text = ast.dump(_WithoutText().visit(tree))
    return hashlib.sha256(text.encode()).hexdigest()[:16], names


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)


class _WithoutText(ast.NodeTransformer):
    """Leaves out docstrings: texts that stand as statements."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else node
