"""Distinct people in sliding windows, slowly and exactly: every sighting is kept, every question asks all of them."""

import math

from audit_proxy.core.detection.windows import BUCKETS, WINDOWS


class Reference:
    """Keeps everything; says what ``Distinct`` has to say."""

    def __init__(self, windows=WINDOWS):
        self.windows = windows
        self.sightings = []
        self.now = -math.inf

    def add(self, now, keys):
        self.now = max(self.now, now)
        self.sightings += [(key, self.now) for key in keys]

    def _in(self, seconds):
        step = seconds / BUCKETS
        first = math.floor(self.now / step) - BUCKETS
        return {key for key, seen in self.sightings if math.floor(seen / step) >= first}

    def counts(self, now):
        self.now = max(self.now, now)
        return {name: float(len(self._in(seconds))) for name, seconds in self.windows.items()}

    def fresh(self, now, keys):
        self.now = max(self.now, now)
        return {name: float(len(set(keys) - self._in(seconds))) for name, seconds in self.windows.items()}
