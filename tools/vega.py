"""`python -m tools.vega`: write `dvc_plots/vega.js`, with which the pages of `dvc plots` need no network.

DVC's own page loads Vega, which draws its plots, from a server. `tools/plots.html`, the page that `.dvc/config` names,
loads this file instead where it is there.
"""

from pathlib import Path

import vl_convert

from stages.common import cli, files

FILE = Path("dvc_plots/vega.js")
"""Beside the page that DVC writes."""
VEGA_LITE = "5.20"
"""Of the generation that DVC's templates are written for."""


def main() -> None:
    """Write the file."""
    files.write_text(FILE, vl_convert.javascript_bundle(vl_version=VEGA_LITE))


if __name__ == "__main__":
    cli.run(main)
