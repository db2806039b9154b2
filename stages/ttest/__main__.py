"""`python -m stages.ttest`: write `metrics/ttest.csv` and `metrics/ttest.md`."""

from pathlib import Path

import pandas as pd

from stages import cli, features, files, params
from stages.ttest import papers_test

METRICS = Path("metrics")


def main() -> None:
    """Test every self/cross pair of the study."""
    names = params.load().variants
    table = papers_test.compare(pd.read_csv(METRICS / "scores.csv"), names)
    files.write_csv(METRICS / "ttest.csv", table)
    files.write_text(METRICS / "ttest.md", papers_test.as_markdown(table, features.read_meta().corpus))


if __name__ == "__main__":
    cli.run(main)
