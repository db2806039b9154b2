"""The settings of the fusion mechanisms: the keyword-only arguments of `build` in `stages/train/fusions/<name>.py`.

They are read from the file's text, so that params are checked without importing torch.
"""

import ast
import functools
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError, create_model

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

_BUILD = "build(modalities, width, *, settings …)"


@functools.cache
def model(fusion: str) -> type[plan.Section]:
    """The section `fusions.<fusion>` of `params.yaml`: a field a setting, with the default of `build`, if any.

    Raises
    ------
    UserError
        If the file is missing, is not Python or defines no `build`, or an argument is not annotated with one of
        `TYPES`, has a default that is not of it, or a name that fields may not have.
    """
    path = FOLDER / f"{fusion}.py"
    shown = f"stages/train/fusions/{path.name}"
    if not path.is_file():
        raise UserError(f"{shown}: this file must define the fusion {fusion!r}, but is missing")
    fields = {}
    arguments = _arguments(path, shown)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        place = f"{shown}: build: {argument.arg}"
        if argument.arg.startswith(("_", "model_")) or hasattr(plan.Section, argument.arg):
            raise UserError(f"{place}: a setting must have another name: this one is pydantic's")
        annotation = _type(argument.annotation, place)
        fields[argument.arg] = (annotation, ... if default is None else _default(default, annotation, place))
    return create_model(f"Settings of {fusion}", __base__=plan.Section, **fields)


def required(fusion: str) -> set[str]:
    """The settings of a fusion that have no default."""
    return {name for name, field in model(fusion).model_fields.items() if field.is_required()}


def _arguments(path: Path, shown: str) -> ast.arguments:
    """Those of `build` in the file `path`, which is `shown` in messages."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    except (SyntaxError, ValueError, RecursionError) as error:  # ValueError: bytes that no source may have
        raise UserError(f"{shown}: must be Python, but: {error}") from None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            if len(node.args.posonlyargs + node.args.args) != 2 or node.args.vararg or node.args.kwarg:
                raise UserError(f"{shown}: build must be {_BUILD}, but is build({ast.unparse(node.args)})")
            return node.args
    raise UserError(f"{shown}: must define a function {_BUILD}, but does not")


def _type(annotation: ast.expr | None, place: str) -> object:
    """What an annotation stands for."""
    if isinstance(annotation, ast.Name) and annotation.id in TYPES:
        return TYPES[annotation.id]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        options = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return Literal[tuple(_constant(option, place) for option in options)]
    found = ast.unparse(annotation) if annotation else "missing"
    raise UserError(f"{place}: its annotation must be one of {', '.join(TYPES)} or Literal[…], but is {found}")


def _default(node: ast.expr, annotation: object, place: str) -> object:
    """A default, which is held to the same rules as a value in `params.yaml`."""
    value = _constant(node, place)
    try:
        return TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].replace("Input should", "must")
        raise UserError(f"{place}: its default {rule}, but is {value!r}") from None


def _constant(node: ast.expr, place: str) -> int | float | bool | str | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        value = ...
    if value is not None and not isinstance(value, int | float | str):  # a bool is an int
        raise UserError(f"{place}: must be a number, text, True, False or None, but is {ast.unparse(node)}")
    return value
