"""How to cite the software and the paper: `CITATION.cff` in words and as BibTeX."""

import re
from pathlib import Path

import yaml

from stages.common.errors import UserError, short

FILE = Path("CITATION.cff")


def read(path: Path = FILE) -> dict:
    """The file's content.

    Raises
    ------
    UserError
        If it is missing, or is not YAML with a title and authors.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} must be there, but is missing: `git checkout {path}` restores it") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} must be YAML, but is not ({short(error)})") from None
    for entry in (found, *(found.get("references", []) if isinstance(found, dict) else [])):
        if not isinstance(entry, dict) or not entry.get("title") or not entry.get("authors"):
            raise UserError(f"{path} must have a title and authors, also of each reference, but has {short(entry)}")
    return found


def sentences(citation: dict) -> list[str]:
    """The software, then what it refers to, a line each."""
    return [_sentence(entry) for entry in (citation, *citation.get("references", []))]


def links(citation: dict) -> list[tuple[str, str]]:
    """Title and address of what has one."""
    entries = (citation, *citation.get("references", []))
    return [(entry["title"], entry["url"]) for entry in entries if str(entry.get("url", "")).startswith("https://")]


def bibtex(citation: dict) -> str:
    """An entry each."""
    return "\n\n".join(_entry(entry) for entry in (citation, *citation.get("references", [])))


def _sentence(entry: dict) -> str:
    where = entry.get("conference", {}).get("name") or ("software" if entry.get("type") == "software" else "")
    parts = [_names(entry, ", "), f"“{entry['title']}”", where, str(entry.get("year", ""))]
    return f"{', '.join(filter(None, parts))}."


def _names(entry: dict, between: str) -> str:
    return between.join(
        own.get("name") or f"{own.get('given-names', '')} {own.get('family-names', '')}".strip()
        for own in entry["authors"]
    )


def _entry(entry: dict) -> str:
    kind = "inproceedings" if "conference" in entry else "misc"
    words = re.findall("[a-z]+", f"{entry['authors'][0].get('family-names', '')} {entry['title']}".lower())
    fields = {
        "title": f"{{{entry['title']}}}",
        "author": _names(entry, " and "),
        "booktitle": entry.get("conference", {}).get("name"),
        "year": entry.get("year"),
        "url": entry.get("url"),
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return f"@{kind}{{{''.join(words[:3])},\n" + ",\n".join(lines) + "\n}"
