"""Linux's account of this process's memory, in bytes (rusage would count the parent's memory before exec)."""

from pathlib import Path


def resident() -> int:
    """What it has now."""
    return _line("VmRSS")


def anonymous() -> int:
    """What it has now without mapped files."""
    return _line("RssAnon")


def peak() -> int:
    """The most that it has had."""
    return _line("VmHWM")


def _line(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)
