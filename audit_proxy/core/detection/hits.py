"""A page held against one limit."""

from collections.abc import Mapping
from typing import NamedTuple

from audit_proxy.core.detection.budgets import Limit


class Hit(NamedTuple):
    """A limit that is near or passed. ``value``: with the page at hand, of whose people ``new`` are new to the window."""

    limit: Limit
    value: float
    cap: float
    new: float

    @property
    def over(self) -> bool:
        """Whether the page would pass the limit."""
        return self.new > 0 and self.value > self.cap

    def asking(self, wanted: Mapping[str, float]) -> "Hit":
        """With all that was refused."""
        return self._replace(value=max(self.value, wanted[self.limit.window]))
