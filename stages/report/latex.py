"""`metrics/tables.tex`: text that LaTeX takes, whatever its characters."""

import re
import unicodedata

import jinja2

from stages.report import grids
from stages.report.blocks import Grid
from stages.report.material import Material

COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"\(\pm\)",
    "×": r"\(\times\)",
    "−": r"\(-\)",
    "α": r"\(\alpha\)",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "’": r"\textquoteright{}",
}
LETTERS = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿĂăĄąĆćČčĎďĐđĘęĚěĞğĹĺĽľŁłŃńŇňŐőŒœŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž"
)
"""Beyond ASCII, what the encoding T1 has a sign for."""
REPLACED = "?"


def escape(text: object) -> str:
    """Text as LaTeX with the encoding T1 shows it; a sign that T1 has not loses its accent, or becomes `?`."""
    line = " ".join(str(text).split())
    line = re.sub(r"(?<![\w.])-(?=[\d.])", "−", line)  # before a number it is a minus
    escaped = "".join(map(_escape, line)).replace("--", "-{}-")
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped  # else the \\ before it would take it


def _escape(sign: str) -> str:
    if sign in COMMANDS:
        return COMMANDS[sign]
    if sign in LETTERS or (sign.isascii() and sign.isprintable()):
        return sign
    plain = "".join(own for own in unicodedata.normalize("NFKD", sign) if own.isascii() and own.isprintable())
    return "".join(COMMANDS.get(own, own) for own in plain) or REPLACED


def page(material: Material) -> str:
    """Tables 1 and 2 and the tests, as a document."""
    found: list[tuple[str, Grid]] = [(f"table{n}", grid) for n in (1, 2) if (grid := grids.scored(n))]
    if material.findings:
        settings = material.config.compare
        found += [(f"tests_{name}", grids.tested(material.tests, name, settings)) for name in settings.metrics]
    template = _environment().get_template("tables.tex")
    return template.render(tables=found, corpus=material.meta.corpus, warning=material.warning)


def _environment() -> jinja2.Environment:
    """Everything that a template writes is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("stages.report", "."),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=escape,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
