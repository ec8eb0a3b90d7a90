"""One page that is about to leave, as budgets see it: whom it is about, by 64-bit keys (``keys.key``)."""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

import msgspec

from audit_proxy.core.errors import Consent, Reason
from audit_proxy.core.policy import App
from audit_proxy.core.record import Group, Record

NOBODY: frozenset[int] = frozenset()
NO_CATEGORY: frozenset[str] = frozenset()

# grounds on which somebody is withheld for want of a grant that would do: the app asked for one who gave it none
_WITHOUT_GRANT = frozenset(
    {Consent.no_grant, Consent.grant_expired, Consent.grant_purpose, Consent.grant_scope, Consent.withdrawn}
)
_OWN_GRANT = frozenset({Consent.grant, Consent.token})

About = Iterable[tuple[str, AbstractSet[int], Iterable[str]]]  # ground, people, categories


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """``third_parties``: others than the holder whose data is about to leave. ``without_grant``: third parties without a grant of
    their own, whether they leave (public content) or were withheld. ``missed``: ids that were looked up and not given.
    ``held_back``: third parties withheld because the app is restricted. ``categories``: of what leaves about third parties.
    ``record``: id of the page's audit record.
    """

    app: App
    holder: int | None = None  # None: an app-only token
    third_parties: AbstractSet[int] = NOBODY
    without_grant: AbstractSet[int] = NOBODY
    missed: AbstractSet[int] = NOBODY
    held_back: AbstractSet[int] = NOBODY
    categories: AbstractSet[str] = NO_CATEGORY
    record: str = ""


def use_of(
    app: App, holder: int | None, disclosed: About, withheld: About, missed: AbstractSet[int], record: str
) -> Use:
    """The use that these groups of people make, of whom the holder is none of the app's doing."""
    third: AbstractSet[int] = NOBODY
    without: AbstractSet[int] = NOBODY
    granted: AbstractSet[int] = NOBODY
    held: AbstractSet[int] = NOBODY
    categories = NO_CATEGORY
    for ground, people, kinds in disclosed:
        third = third | people if third else people
        if ground in _OWN_GRANT:
            granted = granted | people if granted else people
        else:
            without = without | people if without else people
        categories = categories.union(kinds)
    for ground, people, _ in withheld:
        if ground in _WITHOUT_GRANT:
            without = without | people if without else people
        elif ground == Consent.app_restricted:
            held = held | people if held else people
    if without and granted:
        without = without - granted
    if holder is not None:
        alone = {holder}
        third, without, missed = third - alone, without - alone, missed - alone
        held = held - alone if held else held
    return Use(
        app=app,
        holder=holder,
        third_parties=third,
        without_grant=without,
        missed=missed,
        held_back=held,
        categories=categories,
        record=record,
    )


def use_in(record: Record, app: App, key: Callable[[str], int]) -> Use:
    """The use that a record tells of; ``key`` gives a pseudonym's key."""

    def about(groups: Iterable[Group]) -> About:
        return [
            (group.consent, frozenset(map(key, group.subjects)), group.categories)
            for group in groups
            if group.relation == "third_party"
        ]

    would = record.would
    withheld = (*record.withheld, *(would.withheld if would is not None else ()))
    if (would.reason if would is not None else record.reason) == Reason.not_found:
        withheld = ()  # nobody was found: what was looked up counts, and nothing else
    return use_of(
        app,
        key(record.holder) if record.holder is not None else None,
        about(record.disclosed),
        about(withheld),
        frozenset(map(key, frozenset(record.asked) - frozenset(record.found))),
        record.id,
    )
