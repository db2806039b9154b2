"""`python -m benchmarks.revisions REVISION [--rounds 2] [--matrix]`: `dvc repro` by another commit and this, in turns.

Each side is a clone of the default study that has nothing but compiled loops; DVC's own time is what remains of the
wall time without that of the stages' processes. With `--matrix` the study has the paper's ten seeds, so 140 train
stages, all of which find their runs in `.work/`: what remains is start-up, writing and DVC.
"""

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.kills import begin_anew
from benchmarks.repro import DVC, ROOT, timed_repro
from stages.common import tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--matrix", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studies = {side: Path(folder) / side for side in ("before", "after")}
        for side, revision in (("before", options.revision), ("after", "HEAD")):
            clone(studies[side], revision, matrix=options.matrix)
        times = {side: [] for side in studies}
        for _ in range(options.rounds):
            for side, study in studies.items():
                begin_anew(study, keep_work=options.matrix)
                times[side].append(split(*timed_repro(study)))
                print(f"{side}: {', '.join(f'{name} {value:.0f}' for name, value in times[side][-1].items())}")
    rows = []
    for name in times["before"][0]:
        before, after = ([own[name] for own in times[side]] for side in studies)
        ratio = statistics.median(a / b for a, b in zip(after, before, strict=True))
        medians = (f"{statistics.median(own):.0f}" for own in (before, after))
        rows.append(dict(zip(("what", "before", "after", "ratio"), (name, *medians, f"{ratio:.2f}"), strict=True)))
    print(f"\n{len(os.sched_getaffinity(0))} cores, {options.rounds} rounds in turns\n")
    print(tables.markdown(pd.DataFrame(rows)))


def clone(study: Path, revision: str, *, matrix: bool) -> None:
    """Clone a revision and build its compiled loops; for the matrix, train its runs too."""
    subprocess.run(["git", "clone", "--quiet", ROOT, study], check=True)
    subprocess.run(["git", "checkout", "--quiet", revision], cwd=study, check=True)
    target = ["train@self_t-1"]
    if matrix:
        path, target = study / "params.yaml", []
        params = yaml.safe_load(path.read_text())
        params["seeds"] = list(range(1, 11))
        params["corpus"]["synthetic"]["utterances"] = 150
        params["model"]["hidden"] = 6
        params["train"]["protocol"]["max_epochs"] = 1
        path.write_text(yaml.safe_dump(params, sort_keys=False))
    subprocess.run([*DVC, "repro", "--quiet", *target], cwd=study, check=True)


def split(total: float, stages: dict[str, float]) -> dict[str, float]:
    """Seconds of DVC, of the train stages, of the others, and of all."""
    trained = sum(seconds for name, seconds in stages.items() if name.startswith("train"))
    others = sum(stages.values()) - trained
    return {"DVC": total - trained - others, "train stages": trained, "other stages": others, "all": total}


if __name__ == "__main__":
    main()
