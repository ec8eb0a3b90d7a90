"""What becomes of an app that reached too many people, asked before anything else: stopped, blocked for one holder, or
restricted to the data of its own users.

People are known here by 64-bit keys of their pseudonyms, so that the log tells the same as the traffic did.
"""

from collections.abc import Sequence

from audit_proxy.core.detection.account import Status
from audit_proxy.core.detection.keys import key
from audit_proxy.core.errors import Reason, Refusal
from audit_proxy.core.policy import App
from audit_proxy.ports import Budgets, Pseudonymizer

QUARANTINED = Refusal(Reason.app_quarantined, "the app is stopped; its owner has to speak with the platform")
BLOCKED = Refusal(Reason.holder_blocked, "this user's access through the app is blocked for now")


class PeopleKeys:
    """Keys of people and of what was looked up; those of people are remembered."""

    def __init__(self, pseudonyms: Pseudonymizer, secret: bytes, *, entries: int = 200_000) -> None:
        self._pseudonyms = pseudonyms
        self._secret = secret
        self._entries = entries  # about 120 bytes each
        self._known: dict[str, int] = {}

    def of(self, subjects: Sequence[str]) -> list[int]:
        """The key of each subject, in order."""
        names = self._pseudonyms.pseudonyms(subjects)
        try:
            return list(map(self._known.__getitem__, names))
        except KeyError:
            return [self.of_name(name) for name in names]

    def of_name(self, name: str) -> int:
        """The key of a pseudonym."""
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= self._entries:
                self._known.clear()
            found = self._known[name] = key(name, self._secret)
        return found

    def of_text(self, text: str) -> int:
        """The key of what was looked up and is nobody's id."""
        return key(text, self._secret)


class Standings:
    """Holds what the questions need; one instance serves all requests. ``unregistered``: the profile that apps without a
    registration share, and with it one budget.
    """

    def __init__(self, budgets: Budgets, keys: PeopleKeys, unregistered: App | None) -> None:
        self._budgets = budgets
        self._keys = keys
        self._unregistered = unregistered

    def account(self, app: App) -> App:
        """In whose name the app's use counts."""
        return app if app.owner or self._unregistered is None else self._unregistered

    def barred(self, app: App) -> Refusal | None:
        """Why nothing is admitted of the app, or None."""
        return QUARANTINED if self._budgets.status(self.account(app).id) is Status.quarantined else None

    def blocked(self, app: App, holder: str | None, now: float) -> Refusal | None:
        """Why nothing is admitted of the app with this holder's tokens, or None. ``holder``: a subject."""
        account = self.account(app).id
        if holder is None or not self._budgets.blocks_any(account, now):
            return None
        return BLOCKED if self._budgets.blocks(account, self._keys.of((holder,))[0], now) else None

    def restricts(self, app: App | None) -> bool:
        """Whether the app gets the data of its tokens' holders only."""
        return app is not None and self._budgets.status(self.account(app).id) is Status.restricted
