"""The study's stages: each folder is one DVC stage, run as `python -m stages.<stage>`."""

import os
import sys

STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_closed_streams() -> None:
    """Have the standard streams that are closed (`2>&-`) lead nowhere.

    Else Python has none to write to, and the next file that is opened gets the stream's number, and with it what
    libraries and other programs write to the stream.
    """
    for name, mode in STREAMS.items():
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: the stream's own
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))


open_closed_streams()
