"""Reads a YAML file as DVC does: YAML 1.2, by the same library, of plain values only."""

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError

from stages.common.errors import UserError

MOST_BYTES, MOST_VALUES, LONGEST_NUMBER = 2**20, 10**5, 100
"""Bytes of a file; values in it, those behind an alias as often as it is named; characters of a number."""

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = {"str", "int", "float", "bool", "null", "merge"}


def read(path: Path) -> object:
    """What the file holds, in dicts, lists, text, numbers, booleans and None.

    Raises
    ------
    UserError
        If the file is missing, not UTF-8, not YAML, too large, or holds a value of another kind; with its line.
    """
    text = _text(path)
    loader = YAML(typ="safe", pure=True)
    try:
        document = loader.compose(text)
        if document is not None:
            _count(document, loader, path, {})
        return loader.load(text)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None
    except MarkedYAMLError as error:
        reason = " ".join(part.strip() for part in (error.context, error.problem) if part)
        raise UserError(f"{_place(path, error.problem_mark)}: is not valid YAML: {reason}") from None
    except ReaderError as error:
        raise UserError(f"{path}: is not valid YAML: character #x{error.character:04x} may not be in it") from None
    except (YAMLError, ValueError) as error:  # ValueError: `0o_` looks like a number
        raise UserError(f"{path}: is not valid YAML: {error}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path}: must have at most {MOST_BYTES} bytes, but has more")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run stages from the repository's root") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: must be UTF-8, but has the byte 0x{content[error.start]:02x}") from None


def _count(node: Node, loader: YAML, path: Path, counted: dict[int, int]) -> int:
    """Check each value under a node and return how many there are; `counted`: of the nodes already seen."""
    if id(node) in counted:
        return counted[id(node)]
    counted[id(node)] = MOST_VALUES  # until it is known: a node that holds itself holds too many
    if isinstance(node, ScalarNode):
        _check_scalar(node, loader, path)
        children = []
    else:
        mapping = isinstance(node, MappingNode)
        children = [child for pair in node.value for child in pair] if mapping else node.value
        for key in children[::2] if mapping else []:
            if not isinstance(key, ScalarNode):
                raise UserError(f"{_place(path, key.start_mark)}: a key must be text, but is a list or a mapping")
        if str(node.tag) not in (_PREFIX + "map", _PREFIX + "seq"):
            raise UserError(f"{_place(path, node.start_mark)}: the tag {str(node.tag)!r} is not allowed")
    counted[id(node)] = 1 + sum(_count(child, loader, path, counted) for child in children)
    if counted[id(node)] > MOST_VALUES:
        raise UserError(f"{_place(path, node.start_mark)}: must hold at most {MOST_VALUES} values, but holds more")
    return counted[id(node)]


def _check_scalar(node: ScalarNode, loader: YAML, path: Path) -> None:
    """A value is text, or what its own looks say that it is: `!!bool maybe` is not."""
    kind = str(node.tag).removeprefix(_PREFIX)
    looks = str(loader.resolver.resolve(ScalarNode, node.value, (True, False))).removeprefix(_PREFIX)
    if kind not in _PLAIN or (kind != "str" and kind != looks):
        raise UserError(
            f"{_place(path, node.start_mark)}: must be text, a number, true, false or null, but is {node.value[:40]!r} "
            f"({kind}); text can be put in quotes"
        )
    if kind != "str" and len(node.value) > LONGEST_NUMBER:
        raise UserError(
            f"{_place(path, node.start_mark)}: a number must have at most {LONGEST_NUMBER} characters, "
            f"but has {len(node.value)}"
        )


def _place(path: Path, mark) -> str:
    return f"{path}, line {mark.line + 1}" if mark else str(path)
