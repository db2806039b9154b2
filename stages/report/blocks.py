"""What sections of the report are made of; `page.html` and `tables.tex` say how each looks.

All text is plain: it is escaped where it is written, whatever a corpus or somebody has named a class or a model.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from stages.common.errors import restorable


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    strong: bool = False
    tone: str | None = None
    """share, up or down: the colour behind it."""
    amount: float = 0.0
    """How much of that colour, 0 to 1."""
    href: str | None = None
    """Where it leads, on this page."""
    title: str | None = None
    """What a pointer over it shows."""


@dataclass(frozen=True)
class Paragraph:
    """Text; `lead`: what a hurried reader should read."""

    kind: ClassVar[str] = "paragraph"
    text: str
    lead: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    kind: ClassVar[str] = "bullets"
    items: list[str]


@dataclass(frozen=True)
class Links:
    """A list of links: what each says, where it leads."""

    kind: ClassVar[str] = "links"
    items: list[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text to copy as it stands."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Grid:
    """A table; the first `heads` columns name its rows."""

    kind: ClassVar[str] = "grid"
    columns: list[str]
    rows: list[list[Cell]]
    caption: str = ""
    title: str = ""
    """What it is called, where it is not numbered anyway."""
    heads: int = 1
    upright: bool = False
    """Whether the names of columns stand upright, as those of many narrow columns do."""

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, which begin at the left, and no numbers."""
        texts = [row[column].text for row in self.rows]
        return not self.upright and any(text[:1].isalpha() for text in texts if text != "–")


@dataclass(frozen=True)
class Figure:
    """A PNG, inside the page."""

    kind: ClassVar[str] = "figure"
    png: bytes = field(repr=False)
    caption: str

    @property
    def source(self) -> str:
        """The image as a data URI."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Beside:
    """Blocks beside each other where there is room."""

    kind: ClassVar[str] = "beside"
    blocks: list


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader opens."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: list
    anchor: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page."""

    anchor: str
    title: str
    blocks: list


def figure(path: Path, caption: str) -> Figure:
    """The figure that a stage has written to `path`.

    Raises
    ------
    UserError
        If the file is missing or no PNG.
    """
    with restorable(path):
        png = path.read_bytes()
        if not png.startswith(b"\x89PNG\r\n"):
            raise ValueError("no PNG")
        return Figure(png, caption)


def cells(*texts: object) -> list[Cell]:
    """A row of plain cells."""
    return [text if isinstance(text, Cell) else Cell(str(text)) for text in texts]
