"""`python -m tools.check_params`: check `params.yaml` and the registry of fusions, without running anything.

Warns where the values are those of an experiment that was killed.
"""

import sys

from stages.common import cli, params, variants
from tools import repair_lock


def main() -> None:
    """Check the file and the registry.

    Raises
    ------
    UserError
        If one of them is not valid; names the key.
    """
    params.load().drawn()
    variants.check()
    warning = repair_lock.killed_experiment()
    if warning:
        print(warning, file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
