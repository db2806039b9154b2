"""`python -m stages.ttest`: which of two models is better, or whether they are equivalent.

Without arguments it is a stage: it compares the study's models and writes `metrics/ttest.csv` and `.md`, `pairs.csv`,
`ranks.csv`, `plots/differences.png`, `runs.png` and `pairs/`. With `--predictions` it compares any models from files of
their predictions: docs/your-own-predictions.md.
"""

import sys
from collections.abc import Sequence

from stages.common import cli
from stages.ttest import analysis, external, study


def main(arguments: Sequence[str] = ()) -> None:
    """Compare the study's models, or those of files."""
    if arguments:
        external.main(arguments)
        return
    config, answers, design, corpus = study.read()
    found = analysis.analyse(answers, config.pairs, config.compare, design, corpus)
    found.write(analysis.METRICS_FOLDER, analysis.PLOTS)


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
