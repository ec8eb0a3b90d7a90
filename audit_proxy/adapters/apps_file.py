"""Registered apps, as read from ``apps.yaml`` at start (port ``AppRegistry``)."""

from collections.abc import Mapping

from audit_proxy.core.policy import App


class FileApps:
    """The apps of one reading of the file. Immutable: a changed file takes effect at the next start."""

    __slots__ = ("_apps", "find")

    def __init__(self, apps: Mapping[str, App]) -> None:
        self._apps = dict(apps)
        self.find = self._apps.get  # the port's one method, without a frame of our own around it

    def __len__(self) -> int:
        return len(self._apps)
