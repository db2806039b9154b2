"""The file that declares a multiverse: two models, a metric, and the choices whose combinations are studies.

Each combination is one specification: the params of the study with the values of the combination, held to the rules of
`stages/common/params.py` before anything runs. It keeps no more of the study than the pair needs.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from stages.common import params, variants, yaml_file
from stages.common.errors import UserError, short
from stages.common.metrics import METRICS
from stages.common.params import Params
from stages.common.plan import Section

MOST = 500
"""Specifications of a multiverse."""

Value = str | int | float | bool | list | None
"""What a key of params.yaml is set to; a list of such values."""


class Declaration(Section):
    """A multiverse, as the user's file has it."""

    name: str | None = None
    """Of the folder of its results; null: the file's name."""
    pair: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The models a and b; the difference is a - b."""
    metric: str
    choices: Annotated[dict[str, Any], Field(min_length=1)]
    """Key of params.yaml, with dots → the list of `Value`s that it takes."""
    leave_out: Annotated[list[dict[str, Any]], Field(default_factory=list)]
    """Combinations that are no specifications: all that have these values."""

    @field_validator("name")
    @classmethod
    def _word(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch("[a-z0-9][a-z0-9_]{0,59}", name):
            raise ValueError("must be 1 to 60 lower-case letters, digits and _, the first no _")
        return name

    @field_validator("pair")
    @classmethod
    def _models(cls, pair: list[str]) -> list[str]:
        if pair[0] == pair[1]:
            raise ValueError("must be two different models")
        parsed = [variants.parse(name) for name in pair]
        if not any(own.trained or own.parts for own in parsed):
            raise ValueError("must have a model that is trained, or made of models that are")
        return pair

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"must be one of {', '.join(METRICS)}")
        return metric

    @field_validator("choices")
    @classmethod
    def _keys_and_values(cls, choices: dict[str, Any]) -> dict[str, list[Value]]:
        for key, values in choices.items():
            _check_key(key, choices)
            if not isinstance(values, list) or not values:
                raise ValueError(f"{key} must be a list of at least one value, but is {short(values)}")
            for value in values:
                _check_value(key, value)
            texts = [text(value) for value in values]
            for one in texts:
                if texts.count(one) > 1:
                    raise ValueError(f"{key} must have each value once, but has {one} {texts.count(one)} times")
        return choices

    @cached_property
    def combinations(self) -> list[dict[str, Value]]:
        """Key → value, of each combination that is not left out; the last choice varies fastest."""
        every = [dict(zip(self.choices, values, strict=True)) for values in product(*self.choices.values())]
        return [own for own in every if not any(_has(own, left_out) for left_out in self.leave_out)]


@dataclass(frozen=True, kw_only=True)
class Specification:
    """One study of a multiverse."""

    levels: dict[str, Value]
    """Key → value, of each choice."""
    overrides: dict[str, Value]
    """Key → value, of all that differs from params.yaml: the choices, and what restricts the study to the pair."""
    params: Params
    """Its params."""
    own: bool
    """Whether its choices are those of params.yaml."""

    def __str__(self) -> str:
        """`model.padding = mask, split.seed = 2`."""
        return described(self.levels)


@dataclass(frozen=True, kw_only=True)
class Multiverse:
    """A declaration whose specifications all hold."""

    name: str
    pair: tuple[str, str]
    metric: str
    choices: dict[str, list[str]]
    """Key → its values as text, in the order of the file."""
    specifications: list[Specification]


def read(path: Path) -> Multiverse:
    """Read a declaration, and check every combination with the params.yaml of the current folder.

    Raises
    ------
    UserError
        If the file or params.yaml breaks a rule, or a combination does, or two come to the same params.
    """
    declared = _declaration(path)
    params.load()
    study = yaml_file.read(params.PATH)
    found, broken = _specifications(declared, study)
    if broken:
        every = len(declared.combinations)
        raise UserError("\n       ".join(f"{path}: {_broken(*item, every)}" for item in broken.items()))
    _check_distinct(path, found)
    return Multiverse(
        name=declared.name or path.stem,
        pair=tuple(declared.pair),
        metric=declared.metric,
        choices={key: [text(value) for value in values] for key, values in declared.choices.items()},
        specifications=found,
    )


def restriction(pair: list[str], metric: str) -> dict[str, Value]:
    """What keeps of a study no more than one pair and metric: key → value."""
    parsed = [variants.parse(name) for name in pair]
    parts = [part for own in parsed for part in own.parts]
    trained = list(dict.fromkeys([own.name for own in parsed if own.trained] + parts))
    attention, _, modalities = trained[0].partition("_")
    return {
        "variants": trained,
        "references": [own.name for own in parsed if not own.trained],
        "headline.attention": attention,
        "headline.modalities": modalities,
        "compare.pairs": [list(pair)],
        "compare.metrics": [metric],
    }


def text(value: Value) -> str:
    """A value as tables and figures show it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def described(levels: dict[str, Value]) -> str:
    """`model.padding = mask, split.seed = 2`."""
    return ", ".join(f"{key} = {text(value)}" for key, value in levels.items())


def _declaration(path: Path) -> Declaration:
    if not path.is_file():
        raise UserError(f"{path} must be a file that declares a multiverse (docs/multiverse.md), but is none")
    document = yaml_file.read(path)
    if not isinstance(document, dict):
        raise UserError(f"{path}: must hold keys such as `choices:`, but is {short(document)}")
    try:
        declared = Declaration.model_validate({"name": path.stem} | document)
    except ValidationError as error:
        raise UserError("\n       ".join(f"{path}: {params.explain(e)}" for e in error.errors())) from None
    count = prod(map(len, declared.choices.values()))
    if count > MOST:
        raise UserError(f"{path}: choices must have at most {MOST} combinations, but have {count}")
    for rule in _wrongly_left_out(declared):
        raise UserError(f"{path}: leave_out: {rule}")
    return declared


def _wrongly_left_out(declared: Declaration) -> Iterator[str]:
    for left_out in declared.leave_out:
        for key, value in left_out.items():
            if key not in declared.choices or not any(_same(value, own) for own in declared.choices[key]):
                yield f"must name values of choices, but {key} = {text(value)} is none"
        if not left_out:
            yield "must name at least one value each, but one names none"
    if not declared.combinations:
        yield "must leave a combination, but leaves none"


def _specifications(
    declared: Declaration, study: dict
) -> tuple[list[Specification], dict[str, list[dict[str, Value]]]]:
    """The combinations that hold; and of the others what is wrong → the combinations of which that is so."""
    common = restriction(declared.pair, declared.metric)
    own, _ = _validated(study, common)  # None: a choice may be what makes it valid
    found, broken = [], {}
    for levels in declared.combinations:
        made, wrong = _validated(study, common | levels)
        for message in wrong:
            broken.setdefault(message, []).append(levels)
        if made:
            found.append(Specification(levels=levels, overrides=common | levels, params=made, own=made == own))
    return found, broken


def _validated(study: dict, overrides: dict[str, Value]) -> tuple[Params | None, list[str]]:
    """A document of params with some keys set, held to the rules; or None, and what is wrong."""
    try:
        return Params.model_validate(params.with_values(study, overrides)), []
    except ValidationError as error:
        return None, [params.explain(own) for own in error.errors()]
    except UserError as error:
        return None, [str(error)]


def _check_key(key: str, choices: dict[str, Any]) -> None:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", key, re.ASCII):
        raise ValueError(f"keys must be keys of params.yaml such as model.padding, but one is {short(key)}")
    for reserved in ("variants", "references", "headline", "compare.pairs", "compare.metrics"):
        if key == reserved or key.startswith(f"{reserved}."):
            raise ValueError(f"{key} must not be among them: it follows from pair and metric")
    for other in choices:
        if other.startswith(f"{key}."):
            raise ValueError(f"{key} must not be among them, but its part {other} is too")


def _check_value(key: str, value: object) -> None:
    """Hold a value to what a key of params.yaml can be set to from a command line, as it is."""
    if isinstance(value, list):
        for part in value:
            _check_value(key, part)
    elif isinstance(value, dict):
        raise ValueError(
            f"{key} must have values that are text, numbers, true, false, null or lists of them, but one is "
            f"{short(value)}: name its keys, {key}.…"
        )
    elif isinstance(value, str) and not (value and value.isprintable() and "${" not in value):
        raise ValueError(f"{key} must have texts of printable characters without ${{, but one is {short(value)}")


def _has(levels: dict[str, Value], some: dict[str, Value]) -> bool:
    return all(_same(levels[key], value) for key, value in some.items() if key in levels)


def _same(one: Value, other: Value) -> bool:
    return text(one) == text(other)


def _broken(message: str, combinations: list[dict[str, Value]], count: int) -> str:
    """What is wrong with some combinations, and which they are."""
    if len(combinations) == count:
        return f"choices: {message} (in every combination)"
    more = f", and in {len(combinations) - 1} more" if len(combinations) > 1 else ""
    return f"choices: {message} (in {described(combinations[0])}{more}; leave_out can name them)"


def _check_distinct(path: Path, specifications: list[Specification]) -> None:
    first: dict[str, Specification] = {}
    for own in specifications:
        other = first.setdefault(own.params.model_dump_json(), own)
        if other is not own:
            raise UserError(f"{path}: choices: combinations must differ, but these are the same: {other}; {own}")
