"""The Markdown pages that other stages have written, as blocks."""

import re
from pathlib import Path

from stages.common.errors import restorable
from stages.report.blocks import Bullets, Cell, Grid, Heading, Paragraph

COLUMN = re.compile(r"(?<!\\)\|")
"""Between two cells; `\\|` is text."""


def read(path: Path) -> list:
    """The blocks of a page of `tables.markdown`'s tables, headings, lists and paragraphs, without its title.

    Raises
    ------
    UserError
        If the file is missing.
    """
    with restorable(path):
        text = path.read_text(encoding="utf-8")
    return [_block(part) for part in re.split(r"\n{2,}", text.strip()) if not part.startswith("# ")]


def _block(text: str) -> Heading | Bullets | Grid | Paragraph:
    if text.startswith("## "):
        return Heading(text.removeprefix("## "))
    lines = text.split("\n")
    if all(line.startswith("* ") for line in lines):
        return Bullets([_plain(line.removeprefix("* ")) for line in lines])
    if not all(line.startswith("|") for line in lines):
        return Paragraph(_plain(text))
    names, _, *rows = ([_cell(cell) for cell in COLUMN.split(line)[1:-1]] for line in lines)
    return Grid([name.text for name in names], rows)


def _plain(text: str) -> str:
    return text.replace("**", "").replace("`", "")


def _cell(text: str) -> Cell:
    text = text.strip().replace("\\|", "|")
    bold = re.fullmatch(r"\*\*(.*)\*\*", text)
    return Cell(bold[1], strong=True) if bold else Cell(text)
