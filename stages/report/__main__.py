"""`python -m stages.report`: write `plots/report.html`, `metrics/tables.tex` and `metrics/answer.md`.

None of them holds a time, a host or a path: the same study gives the same bytes.
"""

from pathlib import Path

from stages.common import cli, files
from stages.report import latex, material, page, paragraph

PAGE, TABLES, ANSWER = Path("plots/report.html"), Path("metrics/tables.tex"), Path("metrics/answer.md")


def main() -> None:
    """Write the page, the tables and the paragraph."""
    study = material.read()
    files.write_text(PAGE, page.html(study))
    files.write_text(TABLES, latex.page(study))
    files.write_text(ANSWER, paragraph.markdown(study))


if __name__ == "__main__":
    cli.run(main)
