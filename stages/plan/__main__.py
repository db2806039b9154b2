"""`python -m stages.plan`: check all params and the registry, then write `data/plans/<variant>.json`.

Every train stage depends on its plan: DVC removes a stage's outputs and runs its command with the values of
`params.yaml` in both, so nothing of that may happen before they are checked.
"""

import json
from pathlib import Path

from stages.common import cli, files, params, variants

FOLDER = Path("data/plans")


def main() -> None:
    """Write a plan for each variant of the study."""
    config = params.load()
    variants.check()
    with files.replacing(FOLDER) as folder:
        folder.mkdir()
        for variant in config.variants:
            text = json.dumps(config.training(variant), indent=1, sort_keys=True)
            files.write_text(folder / f"{variant}.json", text + "\n")


if __name__ == "__main__":
    cli.run(main)
