"""The DVC experiments of a multiverse's specifications: their names, running those that are missing, reading all.

An experiment is named after all that decides its outcome but the data: the params of its specification, and the code
and dvc.yaml as git's tracked files have them now. So one that has the name is never out of date, whichever commit it
began from, and two multiverses share what they have in common.
"""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common import code, files, params
from stages.common.errors import UserError
from stages.common.params import Params
from stages.multiverse.declaration import Specification, Value
from stages.ttest.verdict import VERDICTS

LOGS = Path(".work/multiverse")
"""What DVC and the stages print, a file an experiment."""

LOCK = Path(".work/locks/multiverse")
"""Held by this command and by the DVCs that it starts, so that one that outlives a kill is waited for."""

NUMBERS = ("mean_a", "mean_b", "difference", "se", "df", "low", "high", "p", "p_equivalence")
"""The columns of `metrics/ttest.csv` that a specification is told by, beside its verdict."""


CORPUS = r"^Corpus: (.*), \d+ folds × \d+ seeds\."
"""Where `metrics/ttest.md` names the corpus, and marks what is not real; `data/` is not in git."""


def names(specifications: Iterable[Specification]) -> list[str]:
    """The experiments' names: `multiverse-` and 12 hexadecimal digits."""
    common = _code_digest()
    return [f"multiverse-{_digest(common, own.params.model_dump_json())}" for own in specifications]


def existing() -> dict[str, str]:
    """Name → commit, of all experiments of this repository; of those with one name, the first baseline's."""
    listed = _git("for-each-ref", "--sort=-refname", "--format=%(objectname) %(refname)", "refs/exps")
    found = {}
    for line in listed.splitlines():
        commit, ref = line.split(" ", 1)
        match = re.fullmatch("refs/exps/[0-9a-f]{2}/[0-9a-f]{38,}/(.+)", ref)
        if match:
            found[match[1]] = commit
    return found


def uncommitted() -> list[str]:
    """The tracked files that differ from the last commit: DVC makes them part of an experiment."""
    return _git("diff", "--name-only", "--relative", "HEAD").splitlines()


def run(name: str, specification: Specification) -> None:
    """Run one specification as a DVC experiment, in a copy of the folder, up to its tests.

    Raises
    ------
    UserError
        If it fails; the message has the last lines that it printed.
    """
    settings = [part for override in specification.overrides.items() for part in ("--set-param", setting(*override))]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", name, *settings, "ttest"]
    log = LOGS / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        status = _wait(command, output)
    if status:
        printed = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = [line.rstrip() for line in printed if line.strip()][-12:]
        raise UserError("\n       ".join([f"{name} ({specification}) failed; the end of {log}:", *last]))


def setting(key: str, value: Value) -> str:
    """One `key=value` of `dvc exp run --set-param`, in Hydra's grammar; `++` for keys that the file may lack.

    https://hydra.cc/docs/1.3/advanced/override_grammar/basic/
    """
    return f"++{key}={_hydra(value)}"


def result(commit: str, name: str, specification: Specification, pair: tuple[str, str], metric: str) -> dict:
    """What one experiment found: `NUMBERS`, verdict, a `Verdict`, and corpus, its corpus's name.

    Raises
    ------
    UserError
        If its params are not the specification's, or its tests have no row of the pair.
    """
    if _params(commit) != specification.params:
        raise UserError(
            f"the experiment {name} must have the params of {specification}, but has others: `dvc exp remove {name}`, "
            "then run this again"
        )
    table = pd.read_csv(io.StringIO(_git("show", f"{commit}:./metrics/ttest.csv")))
    rows = table[(table["a"] == pair[0]) & (table["b"] == pair[1]) & (table["score"] == metric)]
    if len(rows) != 1:
        raise UserError(
            f"the experiment {name}: metrics/ttest.csv must have one row of {', '.join(pair)} and {metric}, "
            f"but has {len(rows)}"
        )
    row = rows.iloc[0]
    named = re.search(CORPUS, _git("show", f"{commit}:./metrics/ttest.md"), re.MULTILINE)
    if row["verdict"] not in VERDICTS or not named:
        raise UserError(f"the experiment {name}: metrics/ttest.csv and .md must be as stages.ttest writes them")
    words = {"verdict": VERDICTS[row["verdict"]], "corpus": named[1]}
    return {column: float(row[column]) for column in NUMBERS} | words


def _params(commit: str) -> Params | None:
    """An experiment's params; None where they are not valid."""
    try:
        return Params.model_validate(YAML(typ="safe", pure=True).load(_git("show", f"{commit}:./{params.PATH}")))
    except (YAMLError, ValidationError):
        return None


def _code_digest() -> str:
    """Of all code but this package's, and of the pipeline; comments and docstrings don't count."""
    tracked = [Path(line) for line in _git("ls-files", "--", "stages").splitlines()]
    used = [path for path in sorted(tracked) if path.is_file() and path.parts[:2] != ("stages", "multiverse")]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in used if path.suffix == ".py"]
    others = [path for path in [*used, Path("dvc.yaml")] if path.suffix != ".py"]
    hashes = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in others}
    return _digest(*(f"{name} {own}" for name, own in (code.hashes(modules) | hashes).items()))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _hydra(value: Value) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, str):
        # In quotes, backslashes count only before a quote: they and the quote are escaped.
        return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value) + "'"
    return json.dumps(value)  # null, true, false, and numbers as Python writes them


def _wait(command: list[str], output: io.TextIOBase) -> int:
    """Run a command to its end, with this interpreter first in its path; an interrupt reaches it too and is awaited."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    process = subprocess.Popen(
        command,
        env=os.environ | {"PATH": path},
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        close_fds=False,  # so that it inherits the lock
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def lock() -> AbstractContextManager[bool]:
    """Lock the running of experiments; waits for another's end, also of one that a kill has left."""
    waiting = "another multiverse ({owner}), or an experiment that it left when it was killed, is running; waiting"
    return files.lock(LOCK, waiting, inherited=True)


def _git(*arguments: str) -> str:
    """What a git command prints.

    Raises
    ------
    UserError
        If it fails.
    """
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise UserError(f"git {' '.join(arguments[:2])} must succeed here, but says: {last}")
    return done.stdout.decode(errors="replace")
