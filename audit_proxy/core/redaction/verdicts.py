"""The verdicts of one request's terms: whether a field may leave under a context, and the tables of whole object plans.

Invariant: a verdict is a function of the field, the scopes in force and the request's own terms, never of a person, so
verdicts may be kept between requests.
"""

import msgspec

from audit_proxy.core.catalog.model import ConsentRule, Field, ObjectPlan
from audit_proxy.core.consent import Permission, satisfies
from audit_proxy.core.errors import Consent
from audit_proxy.core.policy import RefusedThirdParty, Unclassified
from audit_proxy.core.redaction.tables import Context, Table

_NULL: frozenset[type] = frozenset({type(None)})  # a container that is null says nothing of anyone
_TERMS_MAX = 1024  # combinations of terms, and of permissions under each, that are kept


class Terms(msgspec.Struct, frozen=True):
    """What holds for a whole request.

    ``available``: approved scopes in the token. ``requirements``: what the operation and the request's parameters need of
    everyone, an OR of ANDs. ``everyone_refused``: a person whom the request names refuses, so nothing but
    public content may leave. ``by_field``: the request looks up, filters or sorts by a personal field, so that a count would
    tell of those who match and refuse. ``restricted``: the app gets the data of its tokens' holders only, of others nothing
    public either.
    """

    available: frozenset[str]
    requirements: tuple[frozenset[str], ...]
    holder_permits: bool = True
    everyone_refused: Consent | None = None
    by_field: bool = False
    restricted: bool = False
    refused_third_party: RefusedThirdParty = RefusedThirdParty.drop
    unclassified: Unclassified = Unclassified.drop


VerdictCache = dict[Terms, "Verdicts"]


def verdicts_of(terms: Terms, cache: VerdictCache) -> "Verdicts":
    """The verdicts of these terms, from the cache where they were asked for before."""
    found = cache.get(terms)
    if found is None:
        if len(cache) >= _TERMS_MAX:
            cache.clear()
        found = cache[terms] = Verdicts(terms)
    return found


class Verdicts:
    """What follows from terms. Keeps what it worked out."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._available = terms.available
        self._holder_permits = terms.holder_permits
        self._restricted = terms.restricted
        self._minimal = terms.refused_third_party is RefusedThirdParty.minimal
        self.pass_unclassified = terms.unclassified is Unclassified.unsafe_pass
        self._contexts: dict[tuple[frozenset[str] | None, Consent, bool], Context] = {}
        self._refused: dict[tuple[ObjectPlan, Consent], Table] = {}
        self._people: dict[Permission | None, tuple[Context, dict[ObjectPlan, tuple[bool, Table]]]] = {}
        self.root = Context((), None, Consent.subject_unresolved, False, {})  # outside of what is about anybody
        self.nobody = Context((), None, Consent.subject_unresolved, False, {})

    def context(self, scopes: frozenset[str] | None, ground: Consent, *, public: bool = False) -> Context:
        """The context of these rights, about nobody yet."""
        key = (scopes, ground, public)
        found = self._contexts.get(key)
        if found is None:
            if len(self._contexts) >= _TERMS_MAX:
                self._contexts.clear()
            found = self._contexts[key] = Context((), scopes, ground, public, {})
        return found

    def joined(self, permissions: list[Permission | None]) -> Context:
        """The context of objects about several people, all of whom must permit; about nobody yet."""
        if not permissions:
            return self.nobody
        scopes = self._available
        ground = Consent.token
        for permission in permissions:
            if permission is None:
                return self.context(None, Consent.no_grant)
            if permission.scopes is None:
                return self.context(None, permission.ground)
            if not satisfies(self._terms.requirements, permission.scopes):
                return self.context(None, Consent.grant_scope)
            scopes &= permission.scopes
            if permission.ground is not Consent.token:
                ground = permission.ground
        if self._terms.everyone_refused is not None:
            return self.context(None, self._terms.everyone_refused)
        return self.context(scopes, ground)

    def person(self, permission: Permission | None) -> tuple[Context, dict[ObjectPlan, tuple[bool, Table]]]:
        """The context of objects about one person (about nobody yet), and what is known of plans under it."""
        found = self._people.get(permission)
        if found is None:
            if len(self._people) >= _TERMS_MAX:
                self._people.clear()
            found = self._people[permission] = (self.joined([permission]), {})
        return found

    def flat(self, plan: ObjectPlan, permission: Permission | None) -> tuple[bool, Table, Context]:
        """For flat objects about one person: whether they stay, their table, their context (about nobody yet)."""
        context, known = self.person(permission)
        verdict = known.get(plan)
        if verdict is None:
            keeps = self.keeps(plan, context)
            verdict = known[plan] = (
                keeps,
                self.table(plan, context) if keeps else self.refused_table(plan, context.ground),
            )
        return (*verdict, context)

    def of(self, place: Field, context: Context) -> tuple[bool, Consent]:
        """Whether a field may leave under a context, and on what ground."""
        if not place.categories:
            return self.pass_unclassified, Consent.unclassified
        if place.aggregate and not (place.scopes and place.scopes <= self._available):
            return False, Consent.aggregate
        if place.aggregate and self._terms.by_field and context is self.root:
            return False, Consent.aggregate
        if not place.scopes <= self._available:
            return False, Consent.scope_missing
        if not place.personal:
            return True, Consent.token
        if place.aggregate and context is self.root:  # of a list, which is about nobody in itself
            refused = self._terms.everyone_refused
            return refused is None, refused or Consent.token
        if self._restricted and context.ground is not Consent.token:
            return False, context.ground
        if context.public or place.rule is ConsentRule.public:
            return True, Consent.public
        if place.rule is ConsentRule.unsafe_holder_speaks and self._holder_permits:
            return True, Consent.unsafe_holder_speaks
        if context.scopes is None:
            return False, context.ground
        if not place.scopes <= context.scopes:
            return False, Consent.grant_scope
        return True, context.ground

    def table(self, plan: ObjectPlan, context: Context) -> Table:
        table = context.tables.get(plan)
        if table is None:
            passing: dict[str, frozenset[type]] = {}
            dropping: dict[str, frozenset[type]] = {}
            grounds: dict[str, Consent] = {}
            for key, place in plan.fields.items():
                allowed, ground = self.of(place, context)
                grounds[key] = ground
                if place.subject_self or place.about:
                    continue
                if place.object is not None or place.item is not None or place.variants is not None:
                    passing[key] = place.scalars if allowed and place.categories else _NULL
                elif not place.categories:
                    continue
                elif allowed:
                    if place.cursor is None:  # else it is sealed, one by one
                        passing[key] = place.scalars
                elif place.withhold.action == "drop":
                    dropping[key] = place.scalars
            table = context.tables[plan] = Table(plan, passing, dropping, grounds)
        return table

    def keeps(self, place: ObjectPlan | Field, context: Context) -> bool:
        """Whether what is about its people stays at all: they permit, or something of it is public, or policy keeps the
        non-personal part.
        """
        if context.scopes is not None or self._minimal:
            return True
        if self._restricted and context.ground is not Consent.token:
            return False
        if context.public or place.rule is ConsentRule.public:
            return True
        return place.rule is ConsentRule.unsafe_holder_speaks and self._holder_permits

    def refused_table(self, plan: ObjectPlan, ground: Consent) -> Table:
        """The table of an object that goes as a whole."""
        found = self._refused.get((plan, ground))
        if found is None:
            found = self._refused[plan, ground] = Table(plan, {}, {}, dict.fromkeys(plan.fields, ground))
        return found
