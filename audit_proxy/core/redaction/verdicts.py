"""One field's verdict, and the tables that hold the verdicts of a whole object plan.

Invariant: a verdict is a function of the field, the scopes in force and the request's own terms, never of a person, so
its tables may be kept between requests.
"""

from audit_proxy.core.catalog.model import ConsentRule, Field, ObjectPlan
from audit_proxy.core.errors import Consent
from audit_proxy.core.redaction.tables import MAX_TABLES, Context, Table, TableCache

_NULL: frozenset[type] = frozenset({type(None)})  # a container that is null says nothing of anyone


class Verdicts:
    """The verdicts of one request's terms. ``available``: approved scopes in the token."""

    def __init__(
        self,
        available: frozenset[str],
        *,
        holder_permits: bool,
        minimal: bool,
        pass_unclassified: bool,
        cache: TableCache,
    ) -> None:
        self._available = available
        self._holder_permits = holder_permits
        self._minimal = minimal
        self._pass_unclassified = pass_unclassified
        self._cache = cache
        self._key = (available, holder_permits, pass_unclassified)

    def share(self, context: Context) -> Context:
        key = (context.scopes, context.ground, context.public, *self._key)
        tables = self._cache.get(key)
        if tables is None:
            if len(self._cache) >= MAX_TABLES:
                self._cache.clear()
            tables = self._cache[key] = {}
        context.tables = tables
        return context

    def of(self, place: Field, context: Context) -> tuple[bool, Consent]:
        """Whether a field may leave under a context, and on what ground."""
        if not place.categories:
            return self._pass_unclassified, Consent.unclassified
        if place.aggregate and not (place.scopes and place.scopes <= self._available):
            return False, Consent.aggregate
        if not place.scopes <= self._available:
            return False, Consent.scope_missing
        if not place.personal or place.aggregate:
            return True, Consent.token
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
                if place.object is not None or place.item is not None or place.variants is not None:
                    passing[key] = place.scalars if allowed and place.categories else _NULL
                elif place.subject_self or not place.categories:
                    continue
                elif allowed:
                    passing[key] = place.scalars
                elif place.withhold.action == "drop":
                    dropping[key] = place.scalars
            table = context.tables[plan] = Table(plan, passing, dropping, grounds)
        return table

    def keeps(self, plan: ObjectPlan, context: Context) -> bool:
        """Whether an object about its people stays at all: they permit, or something of it is public, or policy keeps
        the non-personal part.
        """
        if context.scopes is not None or self._minimal:
            return True
        if context.public or plan.rule is ConsentRule.public:
            return True
        return plan.rule is ConsentRule.unsafe_holder_speaks and self._holder_permits

    def refused_table(self, plan: ObjectPlan, ground: Consent) -> Table:
        tables = self._cache.setdefault(("refused", ground), {})
        refused = tables.get(plan)
        if refused is None:
            refused = tables[plan] = Table(plan, {}, {}, dict.fromkeys(plan.fields, ground))
        return refused
