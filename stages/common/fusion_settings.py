"""The settings of the fusion mechanisms: the keyword-only arguments of `build` in `stages/train/fusions/<name>.py`.

They are read from the file's text, so that params are checked without importing torch.
"""

import ast
import functools
from pathlib import Path
from typing import Literal

from pydantic import create_model

from stages.common import plan
from stages.common.errors import UserError

FOLDER = Path(__file__).parents[1] / "train/fusions"

TYPES = {
    "bool": bool,
    "float": float,
    "int": int,
    "str": str,
    **{name: getattr(plan, name) for name in ("Size", "Count", "Probability", "Share")},
}
"""What an argument may be annotated with, beside `Literal[…]`."""


@functools.cache
def model(fusion: str) -> type[plan.Section]:
    """The section `fusions.<fusion>` of `params.yaml`: a field a setting, with the default of `build`, if any.

    Raises
    ------
    UserError
        If the file is missing, defines no `build`, or an argument is not annotated with one of `TYPES`.
    """
    path, arguments = _arguments(fusion)
    fields = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        place = f"{path}: build: {argument.arg}"
        fields[argument.arg] = (_type(argument.annotation, place), ... if default is None else _literal(default, place))
    return create_model(f"Settings of {fusion}", __base__=plan.Section, **fields)


def required(fusion: str) -> set[str]:
    """The settings of a fusion that have no default: those of `model` in `params.yaml` by the same name."""
    return {name for name, field in model(fusion).model_fields.items() if field.is_required()}


def _arguments(fusion: str) -> tuple[str, ast.arguments]:
    path = FOLDER / f"{fusion}.py"
    shown = f"stages/train/fusions/{path.name}"
    if not path.is_file():
        raise UserError(f"{shown}: this file must define the fusion {fusion!r}, but is missing")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:  # ValueError: bytes that no source may have
        raise UserError(f"{shown}: must be Python, but: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            if len(node.args.posonlyargs + node.args.args) != 2 or node.args.vararg or node.args.kwarg:
                raise UserError(f"{shown}: build must have the arguments (modalities, width, *, settings …)")
            return shown, node.args
    raise UserError(f"{shown}: must define a function build(modalities, width, *, settings …), but does not")


def _type(annotation: ast.expr | None, place: str) -> object:
    """What an annotation stands for."""
    if isinstance(annotation, ast.Name) and annotation.id in TYPES:
        return TYPES[annotation.id]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        options = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return Literal[tuple(_literal(option, place) for option in options)]
    found = ast.unparse(annotation) if annotation else "none"
    raise UserError(f"{place}: its annotation must be one of {', '.join(TYPES)} or Literal[…], but is {found}")


def _literal(node: ast.expr, place: str) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise UserError(f"{place}: must be a number, text, True or False, but is {ast.unparse(node)}") from None
