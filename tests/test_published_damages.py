"""Folders of the published arrays under random damages of all kinds, judged by a reading of the test's own."""

import re
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published_corpus import Corpus, Sizes, parts, write
from stages.common.errors import UserError
from tests.test_published_folds import DAMAGED, PUBLISHED, assert_same_corpus, prepare, read_part

TINY = Sizes(audio=(5, 3), video=(3, 2), text=4, vocabulary=7, embedding=2, prosody=2)
FOLDS = 3  # a first one, to which others are compared, a last one, and one between
FILES = [
    f"fold0{i}/{part}_{stem}.npy"
    for i in range(1, FOLDS + 1)
    for part in ("train", "dev", "test")
    for stem in (*PUBLISHED.values(), "audio_seqN", "video_seqN", "label")
]
VALUES = [0, 1, 2, 3, 5, 99, -1, 0.5, np.nan, np.inf, 1e300]
TYPES = ["<f8", ">f4", ">i8", "<i4", "<u2", "<i1", "<f2", "<c8", "?", "<U9", "<f16", "O"]
NAMES = ["fold6", "fold06", "foldoops", "folds", "fold01.bak"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A corpus of 24 utterances."""
    root = tmp_path_factory.mktemp("tiny") / "in"
    corpus = Corpus(np.arange(24) % 3, TINY, without_video=(4,), frames_beyond=(7,), nan_prosody=(9,))
    write(root, corpus, parts(24, FOLDS, seed=1))
    return root


def damage(draw, root: Path) -> None:
    """One of all kinds of damage."""
    path = root / draw(st.sampled_from([*FILES, "W_embedding.npy"]), label="file")
    kind = draw(st.sampled_from(list(KINDS)), label="kind")
    with_rows = [own for own in path.parent.glob("*.npy") if own.name.partition("_")[0] == path.name.partition("_")[0]]
    with np.errstate(all="ignore"):
        KINDS[kind](draw, root, path, sorted(with_rows))


def flip(draw, root, path, siblings):
    content = bytearray(path.read_bytes())
    content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    path.write_bytes(content)


def cut(draw, root, path, siblings):
    content = path.read_bytes()
    path.write_bytes(content[: draw(st.integers(0, len(content) - 1))])


def replace(draw, root, path, siblings):
    path.write_bytes(
        draw(
            st.one_of(
                st.binary(max_size=200),
                st.sampled_from(FILES).map(lambda name: (root / name).read_bytes()),
                st.sampled_from([content for content, _ in DAMAGED.values()]),
            )
        )
    )


def set_value(draw, root, path, siblings):
    array, value = np.load(path), draw(st.sampled_from(VALUES))
    if array.size:
        array = array.astype(np.float64) if value != value or value % 1 or abs(value) > 99 else array
        array.flat[draw(st.integers(0, array.size - 1))] = value
    np.save(path, array)


def change_type(draw, root, path, siblings):
    np.save(path, np.load(path).astype(draw(st.sampled_from(TYPES))))


def change_order(draw, root, path, siblings):
    np.save(path, np.asfortranarray(np.load(path)))


def change_shape(draw, root, path, siblings):
    array = np.load(path)
    changed = [array[..., None], array.ravel(), array[:0], array[..., :-1], np.concatenate([array, array]), array.T]
    np.save(path, np.ascontiguousarray(draw(st.sampled_from(changed))))


def reorder(draw, root, path, siblings):
    """In one array or, which is no damage, in all of the part."""
    order = draw(st.permutations(range(len(np.load(siblings[0])))))
    for own in draw(st.sampled_from([[path], siblings])):
        np.save(own, np.load(own)[order[: len(np.load(own))]])


def pick(draw, root, path, siblings):
    """Drop, repeat and reorder rows of a part."""
    count = len(np.load(siblings[0]))
    chosen = draw(st.lists(st.integers(0, max(0, count - 1)), min_size=max(0, count - 1), max_size=count + 1))
    for own in siblings:
        np.save(own, np.load(own)[chosen])


def move(draw, root, path, siblings):
    """A row to another part, which is another split, or a copy, which is a leak."""
    target, copied = draw(st.sampled_from(["train", "dev", "test"])), draw(st.booleans())
    for own in siblings:
        array, there = np.load(own), own.with_name("_".join([target, *own.name.split("_")[1:]]))
        np.save(there, np.concatenate([np.load(there), array[:1]]))
        if not copied:
            np.save(own, np.load(own)[1:])


def set_everywhere(draw, root, path, siblings):
    """The same mistake in every folder."""
    shift = draw(st.integers(0, 2))
    for own in root.glob(f"fold*/*_{path.name.partition('_')[2]}"):
        np.save(own, np.load(own) + shift)


def delete(draw, root, path, siblings):
    path.unlink()


def folder(draw, root, path, siblings):
    if path.parent != root:
        change = draw(st.sampled_from([shutil.copytree, shutil.move]))
        change(path.parent, root / draw(st.sampled_from(NAMES)))


KINDS = {
    own.__name__: own
    for own in (
        flip,
        cut,
        replace,
        set_value,
        change_type,
        change_order,
        change_shape,
        reorder,
        pick,
        move,
        set_everywhere,
        delete,
        folder,
    )
}


def broken_rule(root: Path) -> str | None:
    """Which rule of the format folders break, by a reading of its own; None: none."""
    folders = sorted(path for path in root.iterdir() if re.fullmatch(r"fold\d+", path.name))
    try:
        sizes, contents = set(), []
        for path in (path for folder in folders for path in folder.glob("*.npy")):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if array.dtype.kind not in "fiu" or array.offset + array.nbytes != path.stat().st_size:
                return "type or size"
        embedding = np.load(root / "W_embedding.npy", mmap_mode="r")
        if embedding.ndim != 2 or embedding.dtype.kind not in "fiu" or not np.isfinite(embedding.astype("f4")).all():
            return "embedding"
        if embedding.offset + embedding.nbytes != (root / "W_embedding.npy").stat().st_size or not embedding.size:
            return "embedding"
        for folder in folders:
            fold = []
            for part in ("train", "dev", "test"):
                arrays = [np.load(folder / f"{part}_{stem}.npy") for stem in PUBLISHED.values()]
                small = [np.load(folder / f"{part}_{stem}.npy") for stem in ("audio_seqN", "video_seqN", "label")]
                if len({len(array) for array in (*arrays, *small)}) != 1 or any(array.ndim != 1 for array in small):
                    return "rows"
                if [array.ndim for array in arrays] != [3, 3, 2, 2] or not all(np.prod(a.shape[1:]) for a in arrays):
                    return "dimensions"
                sizes.add(tuple(array.shape[1:] for array in arrays))
                if any(not ((array >= 0) & (array % 1 == 0)).all() for array in (*small, arrays[2])):
                    return "whole numbers"
                if (small[2] > 2).any() or (arrays[2] >= len(embedding)).any():
                    return "range"
                if any(not np.isfinite(array.astype("f4")).all() for array in arrays[:2]):
                    return "finite"
                fold += read_part(folder, part)
            contents.append(
                Counter(
                    tuple(x.tobytes() if isinstance(x, np.ndarray) else float(x) for _, x in sorted(row.items()))
                    for row in fold
                )
            )
            if {row["label"] for row in fold if row["video_seqN"] > 0} != {0, 1, 2}:
                return "classes"
    except Exception as error:  # whatever cannot be read is broken
        return f"not readable: {error}"
    if len(folders) < 2 or len({int(folder.name[4:]) for folder in folders}) < len(folders):
        return "folders"
    if len(sizes) > 1:
        return "shapes"
    return None if all(content == contents[0] for content in contents) else "folders differ"


@settings(max_examples=250, deadline=None, derandomize=True)
@given(draw=st.data(), strict=st.sampled_from([True, True, False]))
@pytest.mark.filterwarnings("ignore")
def test_no_damage_is_accepted_in_silence_or_ends_in_a_traceback(draw, strict, tiny):
    with tempfile.TemporaryDirectory() as folder:
        root, out, refusal = Path(folder, "in"), Path(folder, "out"), None
        shutil.copytree(tiny, root)
        for _ in range(draw.draw(st.integers(0, 2), label="damages")):
            with suppress(Exception):  # numpy may not be able to read, and to damage, what was damaged before
                damage(draw.draw, root)
        broken = broken_rule(root)
        try:
            prepared = prepare(root, out, ["a", "b", "c"], strict=strict)
        except UserError as error:
            refusal = str(error)
        if refusal is not None:
            assert broken, f"refused, but without a fault: {refusal}"
            assert len(refusal.splitlines()) == 1
        elif strict or broken != "folders differ":
            assert not broken
            folders = sorted(path.name for path in root.iterdir() if re.fullmatch(r"fold\d+", path.name))
            assert_same_corpus(prepared, out, root, sorted(folders, key=lambda name: int(name[4:])))
