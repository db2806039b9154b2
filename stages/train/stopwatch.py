"""What the time of a training is spent on."""

import time


class Stopwatch:
    """Shares out the time that passes among activities, of which there is one at a time."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.activity, self._since = "", time.perf_counter()

    def switch(self, activity: str) -> str:
        """Begin an activity; the one that ends by that."""
        now, before = time.perf_counter(), self.activity
        if before:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self._since
        self.activity, self._since = activity, now
        return before
