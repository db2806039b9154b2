"""One modality of the arrays that the paper used (`stages/corpus/published_folds.py` describes them).

Only the rows that `utterances.csv` names are read, a bounded number of them at a time.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from stages.common import corpus as corpora
from stages.common import progress
from stages.common.errors import UserError, restorable
from stages.common.params import Corpus
from stages.corpus.published_folds import FILES, Part, find_folders, open_part, read_embedding, rows_in_a_block
from stages.features.writer import Writer


def write(corpus: Corpus, modality: str, utterances: pd.DataFrame, folder: Path) -> None:
    """Write a modality of the corpus under `corpus.root` to `folder`.

    Raises
    ------
    UserError
        If an array is missing or damaged, or a row breaks a rule; names the file, row and rule.
    """
    root, places = Path(corpus.root), _places(utterances)
    parts = {own: open_part(root / own[0], own[1], [modality]) for own in dict.fromkeys(place[:2] for place in places)}
    shape = next(iter(parts.values())).arrays[modality].shape
    writer = Writer(folder, "tokens") if modality == "text" else Writer(folder, "frames", shape[-1])
    oddities: Counter[str] = Counter()
    rows = _rows(modality, parts, places)
    for name, (part, row, values) in zip(
        utterances["utterance_id"],
        progress.line(f"features {modality}", "rows", rows, len(places)),
        strict=True,
    ):
        sequence, valid = part.sequence(modality, row, values)
        try:
            writer.add(name, sequence, valid)
        except UserError as error:
            raise part.arrays[modality].error(row, str(error)) from None
        oddities.update(_oddities(part, modality, row, len(sequence) > valid))
    writer.close(
        longest=1 if modality == "prosody" else shape[1],
        embedding=read_embedding(find_folders(root)[:1]) if modality == "text" else None,
        made={"source": "published_folds", "array": FILES[modality][0]},
    )
    for oddity, count in sorted(oddities.items()):
        print(f"{count} utterances have {oddity}")


def _places(utterances: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Folder, part and row of each utterance."""
    columns = ("folder", "part", "row")
    with restorable(corpora.FOLDER / "utterances.csv"):
        if not set(columns) <= set(utterances):
            raise UserError(f"must have the columns {', '.join(columns)}, but has {', '.join(utterances)}")
        return list(zip(utterances["folder"], utterances["part"], utterances["row"].astype(int), strict=True))


def _rows(
    modality: str, parts: dict[tuple[str, str], Part], places: list[tuple[str, str, int]]
) -> Iterator[tuple[Part, int, np.ndarray]]:
    """Part, number and values of each row; rows that follow each other are read together."""
    runs = groupby(enumerate(places), key=lambda item: (*item[1][:2], item[1][2] - item[0]))
    for (folder, name, _), run in runs:
        part, rows = parts[folder, name], [place[2] for _, place in run]
        array = part.arrays[modality]
        first, last = rows[0], rows[-1]
        if first < 0 or last >= array.shape[0]:
            raise UserError(f"{array.path}: must have the row {last} of utterances.csv, but has {array.shape[0]} rows")
        block = rows_in_a_block(array)
        for start in range(first, last + 1, block):
            stop = min(start + block, last + 1)
            yield from ((part, row, values) for row, values in enumerate(array.rows(start, stop), start=start))


def _oddities(part: Part, modality: str, row: int, beyond: bool) -> Iterator[str]:
    """What is not as described, but read like the authors' scripts read it; `beyond`: frames lie beyond `seqN`."""
    longest = part.arrays[modality].shape[1]
    if modality in part.lengths and part.lengths[modality][row] > longest:
        yield f"more {modality} frames (seqN) than the {longest} of the arrays, to which they were cut"
    if beyond:
        yield f"{modality} frames after the last of seqN: model.padding: attend reads them, mask does not"
