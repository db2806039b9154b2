"""Where `.work/` lies: what processes leave for each other and for later ones, none of it an output of the study."""

from pathlib import Path

OWN = Path(".work")
"""Of this copy of the project: locks on its outputs, and logs."""


def shared(project: Path = Path()) -> Path:
    """The absolute `.work/` of the project; of a copy that DVC made in `.dvc/tmp/exps/`, that of the original."""
    for folder in project.absolute().parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2] / OWN
    return project.absolute() / OWN
