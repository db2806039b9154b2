"""`runs/<variant>/seed<seed>/parameters.json`: how many parameters a model has that training fits."""

import json
from pathlib import Path

from stages.common import files, predictions
from stages.common.errors import restorable

FILE = "parameters.json"


def write(run_folder: Path, parameters: int) -> None:
    """Write the number of parameters, word vectors not counted, into a run's folder."""
    files.write_text(run_folder / FILE, json.dumps({"parameters": parameters}) + "\n")


def read(variant: str, seed: int) -> int:
    """The number of parameters of one variant, as the runs of a seed had them.

    Raises
    ------
    UserError
        If the file is missing or damaged.
    """
    path = predictions.folder(variant, seed) / FILE
    with restorable(path):
        return int(dict(json.loads(path.read_bytes())).get("parameters"))
