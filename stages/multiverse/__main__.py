"""`python -m stages.multiverse FILE`: does the verdict on two models survive other choices?

Runs every combination of the choices in FILE that has not run yet as a DVC experiment, one after the other, and writes
`multiverse/<name>/`: `specifications.csv`, `page.md` and the specification curve `curve.png`. With `--collect` it runs
none. docs/multiverse.md says how to write FILE and how to read the curve.

The folder is no output of a stage, for it is made of many commits; and it lies in none of DVC's own folders, so that
`dvc repro` and `dvc checkout` leave it alone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from stages.common import cli, figures, files
from stages.common.errors import UserError
from stages.multiverse import declaration, drawing, experiments, summary
from stages.multiverse.declaration import Multiverse, Specification

FOLDER = Path("multiverse")


def main(arguments: Sequence[str]) -> None:
    """Run what is missing, then collect and write what is there.

    Raises
    ------
    UserError
        If the file or a combination breaks a rule, an experiment fails, or none has run.
    """
    parser = cli.ArgumentParser(prog="python -m stages.multiverse", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="declares the pair, the metric and the choices")
    parser.add_argument("--collect", action="store_true", help="run nothing: write what the experiments have found")
    options = parser.parse_args(arguments)
    multiverse = declaration.read(options.file)
    names = experiments.names(multiverse.specifications)
    failures = [] if options.collect else run_missing(dict(zip(names, multiverse.specifications, strict=True)))
    collect(multiverse, names)
    if failures:
        raise UserError("\n".join([f"{len(failures)} of {len(names)} experiments failed", *failures]))


def run_missing(wanted: dict[str, Specification]) -> list[str]:
    """Run the experiments that are not there, by name; a failed one stops no other. Returns what failed, and how."""
    failures = []
    with experiments.lock():
        missing = [name for name in wanted if name not in experiments.existing()]
        _say(f"{len(wanted)} specifications, {len(missing)} to run")
        changed = experiments.uncommitted()
        if missing and changed:
            _say(f"uncommitted changes are part of every experiment: {', '.join(changed)}")
        for place, name in enumerate(missing, start=1):
            _say(f"{place} of {len(missing)}, {name}: {wanted[name]}")
            try:
                experiments.run(name, wanted[name])
            except UserError as error:
                _say("failed")
                failures.append(str(error))
    return failures


def collect(multiverse: Multiverse, names: list[str]) -> None:
    """Write the table, the page and the figure of the experiments that are there.

    Raises
    ------
    UserError
        If none is, or one is not what its name says.
    """
    there = experiments.existing()
    found, missing = {}, []
    for name, own in zip(names, multiverse.specifications, strict=True):
        if name in there:
            found[name] = experiments.result(there[name], name, own, multiverse.pair, multiverse.metric)
        else:
            missing.append(own)
    if not found:
        raise UserError("at least one specification must have run to be collected, but none has")
    table = summary.specifications(multiverse, names, found)
    page = summary.page(table, multiverse, missing)
    with files.replacing(FOLDER / multiverse.name) as folder:
        folder.mkdir()
        files.write_csv(folder / "specifications.csv", table)
        files.write_text(folder / "page.md", page)
        figures.save(drawing.curve(table, multiverse), folder / "curve.png")
    print(page.partition("\n\n![")[0])
    print(f"\n{FOLDER / multiverse.name}: page.md, curve.png, specifications.csv")


def _say(text: str) -> None:
    print(f"multiverse: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    cli.run(lambda: main(sys.argv[1:]))
