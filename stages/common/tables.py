"""How tables for people are written."""

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """`table` as a Markdown table without its index; empty cells are "–"."""
    rows = [[str(name) for name in table.columns], ["---"] * table.shape[1]]
    rows += [["–" if pd.isna(cell) else str(cell) for cell in row] for row in table.itertuples(index=False)]
    return "".join("| " + " | ".join(map(_cell, row)) + " |\n" for row in rows)


def _cell(text: str) -> str:
    """A cell that ends neither its column nor its row, whatever somebody has named a model or a class."""
    return " ".join(text.split()).replace("|", "\\|")


def mean_std(mean: float, std: float) -> str:
    """`.587 ± .022`, as the paper prints it; without the deviation where there is none."""
    return fraction(mean) + ("" if pd.isna(std) else f" ± {fraction(std)}")


def fraction(value: float) -> str:
    """`.587`; 1 stays `1.000`."""
    text = f"{value:.3f}"
    text = "0.000" if text == "-0.000" else text
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def number(value: float) -> str:
    """`17.3`; "–" where there is none."""
    return "–" if pd.isna(value) else f"{value:.1f}"


def p_value(p: float) -> str:
    """`.053`, or `< .001`."""
    return "–" if pd.isna(p) else "< .001" if p < 0.001 else fraction(p)


def probability(p: float) -> str:
    """`.053`, `< .001` or `> .999`."""
    return "> .999" if p > 0.999 else p_value(p)
