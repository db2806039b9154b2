"""SHA-256 of files' contents, which is not computed again for a file of the same size, times and inode.

One of these times, that of the inode's last change, is new after every write, and no program can set it: content that
is put in place with the size and time of the old is noticed.
"""

import hashlib
import json
from pathlib import Path

from stages.common import files
from stages.common.arrays import checksum

Entry = list
"""Size, times of the content's and of the inode's last change in ns, inode, SHA-256."""


def entry(path: Path, known: dict[str, Entry]) -> Entry:
    """A file's entry: the one in `known`, by its path, if the file is still so."""
    status = path.stat()
    now = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    before = known.get(str(path))
    return before if before and before[:-1] == now else [*now, checksum(path)]


def of_weights(path: Path, known: dict[str, Entry]) -> str:
    """The digest of a weights file, or of all files in a model's folder."""
    if path.is_dir():
        names = sorted(own.name for own in path.iterdir() if own.is_file())
        content = json.dumps([[name, of_weights(path / name, known)] for name in names])
        return hashlib.sha256(content.encode()).hexdigest()
    known[str(path)] = entry(path, known)
    return known[str(path)][-1]


def read(path: Path) -> dict[str, Entry]:
    """What `write` wrote; nothing where it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
        return {name: own for name, own in found.items() if isinstance(own, list) and len(own) == 5}
    except (OSError, ValueError, AttributeError):
        return {}


def write(path: Path, known: dict[str, Entry]) -> None:
    """Keep entries in a file; not while another process does: what is not kept is computed again."""
    with files.lock(path.with_suffix(".lock"), None) as granted:
        if granted:
            files.write_text(path, json.dumps(known))
