"""Review: inspect, consent, redact (DESIGN section 3). Takes a whole answer, gives what may be released of it.

Invariants:

- A third party who is withheld and an id that does not exist give the same ``Outcome``: status 404, our own body.
- An answer whose status or media type is not described keeps its status and loses its body.
- A person whom the path, or another parameter of one value, names and who refuses is an unknown one, whatever the
  platform answers: also nothing, a redirect, or what cannot be looked into.
- Where a request looks somebody up by a personal field, an answer that discloses nothing is that of nobody found.
- Whoever's id is not mapped to a subject is a third party without a grant; so is everyone while ids cannot be looked up.
- Paging state leaves sealed, in bodies and in headers; what cannot be sealed is withheld, and recorded as that. An error
  that quotes the cursor it is about loses its body.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain

import msgspec

from audit_proxy.core.catalog.expressions import HOLDER, HOLDER_ID, Named, in_answer
from audit_proxy.core.catalog.model import NONE, Field, MediaPlan, Operation
from audit_proxy.core.consent import Permission
from audit_proxy.core.cursors import Cursors, Page, quotes
from audit_proxy.core.errors import Consent, Reason, Refusal, SubjectIdsUnavailable
from audit_proxy.core.exchange import Response
from audit_proxy.core.inspection import NotInspectable, RawId, find_subjects, is_id, parse, render
from audit_proxy.core.policy import OperationRule, Policy, RefusedThirdParty, Unclassified
from audit_proxy.core.redaction import GONE, NOBODY, Group, Redactor, Seal, Terms, VerdictCache, verdicts_of
from audit_proxy.pipeline.admit import Admission
from audit_proxy.pipeline.permissions import NOBODY_KNOWN, Permissions, refusal_of
from audit_proxy.ports import SubjectIds

NO_RULE = OperationRule()
_OF_THE_REQUEST = frozenset({400, 401, 405, 406, 413, 414, 415, 422, 429, 431})  # statuses that tell of nobody


class Outcome(msgspec.Struct, eq=False):
    """What is released. ``body`` None: no body. ``refusal``: the answer as a whole is replaced or loses its body."""

    status: int
    body: bytes | None
    content_type: str | None = None
    refusal: Refusal | None = None
    disclosed: tuple[Group, ...] = ()
    withheld: tuple[Group, ...] = ()
    unclassified: int = 0
    people: Mapping[RawId, str] = {}  # whom request and answer name -> subject; who is not mapped is left out
    holder: Collection[RawId] = ()  # those of them that mean the holder
    unmapped: int = 0  # ids of the answer that mean nobody we know
    found: Collection[RawId] = ()  # everyone the answer named
    changed: bool = False
    uninspected: bool = False
    undecided: bool = False  # in monitor mode: nothing was decided about the answer
    left: tuple[Group, ...] | None = None  # in monitor mode: what left, where that is not all disclosed and withheld


class Reviewer:
    """Holds what review needs; one instance serves all requests."""

    def __init__(
        self,
        policy: Policy,
        ids: SubjectIds,
        permissions: Permissions,
        max_depth: int,
        cursors: Cursors | None = None,
    ) -> None:
        self._policy = policy
        self._ids = ids
        self._permissions = permissions
        self._max_depth = max_depth
        self._cursors = cursors
        self._verdicts: VerdictCache = {}

    async def turn_away(self, admission: Admission, status: int) -> Outcome | None:
        """The answer about somebody whom the request names and who refuses, decided before the platform's is looked into, as
        it is for an id that the platform does not know: time tells neither from the other. None: look into it.
        """
        people = admission.asked.must_permit if admission.asked is not None else ()
        operation = admission.operation
        if not people or operation is None:
            return None
        rule = self._policy.operations.get(operation.id, NO_RULE)
        keeps_nothing = (
            operation.closed
            and (rule.refused_third_party or self._policy.refused_third_party) is RefusedThirdParty.drop
            and (rule.unclassified or self._policy.unclassified) is Unclassified.drop
        )
        return await self._unknown(admission, people) if status == 404 or keeps_nothing else None

    async def _unknown(
        self, admission: Admission, people: Collection[str], *, uninspected: bool = False
    ) -> Outcome | None:
        """The outcome of an unknown id where one of these people refuses."""
        known = admission.people
        subjects: dict[RawId, str] = {raw: known[raw] for raw in people if raw in known}
        permissions, _, _ = await self._permissions.of(admission.asker, subjects)
        refused = [
            (raw, ground)
            for raw in people
            if (ground := refusal_of(permissions.get(raw, NOBODY_KNOWN), admission.requirements)) is not None
        ]
        if not refused:
            return None
        withheld = tuple([Group((), (), ground, (raw,)) for raw, ground in refused])
        return Outcome(
            404, None, refusal=Refusal(Reason.not_found), withheld=withheld, people=subjects, uninspected=uninspected
        )

    async def review(self, admission: Admission, response: Response) -> Outcome:
        """Judges an answer of an admitted, judged operation."""
        operation = admission.operation
        assert operation is not None  # admitted
        media = _lookable(operation, response)
        if isinstance(media, MediaPlan):
            try:
                outcome = await self._inspect(admission, operation, media, response)
            except NotInspectable as error:
                refusal = Refusal(Reason.response_not_inspectable, str(error))
                media = Outcome(502, None, refusal=refusal, uninspected=True)
            else:
                if outcome.disclosed or not operation.describes_404:
                    return outcome
                return _unmatched(admission, outcome, response.status)
        return media if media.status == 404 else await self.conceal(admission, media, response.status)

    async def conceal(self, admission: Admission, outcome: Outcome, received: int | None = None) -> Outcome:
        """The outcome of an answer that was not looked into, or the one of an unknown id where a person whom the
        request names refuses. ``received``: the platform's status, where there is one.
        """
        people = admission.asked.must_permit if admission.asked is not None else ()
        if not people:
            return outcome if received is None else _unmatched(admission, outcome, received)
        return await self._unknown(admission, people, uninspected=outcome.uninspected) or outcome

    def headers(
        self, admission: Admission, status: int, headers: Iterable[tuple[str, str]]
    ) -> tuple[list[tuple[str, str]], tuple[Group, ...]]:
        """An answer's headers that may pass, their paging state sealed, and what of it is withheld."""
        operation = admission.operation
        assert operation is not None  # admitted
        plan = operation.response(status)
        holding = plan.cursors if plan is not None else {}
        passing: list[tuple[str, str]] = []
        lost: dict[str, None] = {}
        page = _page(admission, operation) if holding else None
        for name, value in headers:
            cursor = holding.get(name.lower())
            if cursor is None or page is None:
                passing.append((name, value))
                continue
            left, whole = (None, False) if self._cursors is None else self._cursors.header(page, name, cursor, value)
            if left is not None:
                passing.append((name, left))
            if not whole:
                lost[f"{operation.id}.{name.lower()}"] = None
        return passing, (Group(tuple(lost), NONE, Consent.cursor_unsealable, ()),) if lost else ()

    def _seal(self, admission: Admission, operation: Operation) -> Seal | None:
        """What seals the paging state of an answer's body."""
        cursors = self._cursors
        if cursors is None:
            return None
        page = _page(admission, operation)
        return lambda place, value, subjects: cursors.place(page, place, value, subjects)

    async def _inspect(
        self, admission: Admission, operation: Operation, media: MediaPlan, response: Response
    ) -> Outcome:
        plan: Field = media.field
        value = parse(response.body, lines=media.lines, events=media.events)
        ids = find_subjects(plan, value, self._max_depth)
        must_permit = admission.asked.must_permit if admission.asked is not None else []
        named = _named(admission, media, value) if media.named else NOBODY
        about = ids.union(filter(is_id, chain(*named.values()))) - {HOLDER_ID} if named else ids
        why_nobody = Consent.subject_unmapped
        try:
            subjects = await self._ids.subjects(admission.client_id, about)
        except SubjectIdsUnavailable as error:
            subjects, why_nobody = error.known, Consent.subjects_unavailable
        unmapped = [raw for raw in about if raw not in subjects] if len(subjects) < len(about) else []
        if must_permit:
            known = admission.people
            subjects = {**subjects, **{raw: known[raw] for raw in must_permit if raw in known}}
            unmapped += [raw for raw in must_permit if raw not in known]
        holder = admission.identity.holder if admission.identity is not None else None
        if HOLDER in named and holder is not None:
            subjects = {**subjects, HOLDER_ID: holder}
        permissions, own, holder_permits = await self._permissions.of(admission.asker, subjects)
        if unmapped:
            permissions.update(dict.fromkeys(unmapped, Permission(None, why_nobody)))
            unmapped = _new(unmapped, admission)
        rule = self._policy.operations.get(operation.id, NO_RULE)
        requirements = admission.requirements
        refuser = _refuser(must_permit, permissions, requirements)
        terms = Terms(
            admission.available,
            requirements,
            holder_permits,
            refuser,
            admission.asked is not None and admission.asked.by_field,
            self._permissions.restricts(admission.app),
            rule.refused_third_party or self._policy.refused_third_party,
            rule.unclassified or self._policy.unclassified,
        )
        seal = self._seal(admission, operation) if plan.pages else None
        verdicts = verdicts_of(terms, self._verdicts)
        redactor = Redactor(permissions, verdicts, max_depth=self._max_depth, named=named, seal=seal)
        redacted = redactor.redact(plan, value)
        refused_people = refuser is not None and not redacted.disclosed
        if redacted.value is GONE or refused_people:
            return Outcome(
                404,
                None,
                refusal=Refusal(Reason.not_found),
                withheld=redacted.withheld,
                unclassified=redacted.unclassified,
                people=subjects,
                holder=own,
                unmapped=len(unmapped),
                found=ids,
                changed=True,
            )
        body = render(redacted.value, lines=media.lines, events=media.events)
        if admission.opened and response.status >= 400 and quotes(body, admission.opened):
            refusal = Refusal(Reason.response_not_described, "the answer quotes a cursor")
            status, withheld = response.status, redacted.withheld
            return Outcome(status, None, refusal=refusal, withheld=withheld, people=subjects, holder=own, found=ids)
        return Outcome(
            response.status,
            body,
            media.kind,
            disclosed=redacted.disclosed,
            withheld=redacted.withheld,
            unclassified=redacted.unclassified,
            people=subjects,
            holder=own,
            unmapped=len(unmapped),
            found=ids,
            changed=bool(redacted.withheld),
        )


def _unmatched(admission: Admission, outcome: Outcome, received: int) -> Outcome:
    """The outcome of an answer that discloses nothing: where a request looked somebody up by a personal field it is that of
    nobody found, for nothing, an error or an empty list would tell of a match. A stream is never there as a whole.
    """
    asked, operation = admission.asked, admission.operation
    looked_up = asked is not None and asked.by_field and not asked.must_permit
    looked_up = looked_up and operation is not None and not operation.streams
    if not looked_up or received in _OF_THE_REQUEST or received >= 500:
        return outcome
    return msgspec.structs.replace(outcome, status=404, body=None, content_type=None, refusal=Refusal(Reason.not_found))


def stream_plan(operation: Operation, response: Response) -> MediaPlan | None:
    """The plan of an answer that is judged as it comes, None where it is judged whole."""
    media = _media(operation, response) if 200 <= response.status < 300 else None
    return media if media is not None and media.lines else None


def _lookable(operation: Operation, response: Response) -> MediaPlan | Outcome:
    """The plan of an answer that can be looked into, or what becomes of one that cannot."""
    status, unseen = response.status, bool(response.body)
    if 300 <= status < 400:
        refusal = Refusal(Reason.redirect_refused, "the platform answered with a redirect")
        return Outcome(502, None, refusal=refusal, uninspected=unseen)
    if status == 404:
        return Outcome(404, None, refusal=Refusal(Reason.not_found), uninspected=unseen)
    if not response.body:
        return Outcome(status, None)
    media = _media(operation, response)
    if media is None:
        refusal = Refusal(Reason.response_not_described, "the catalog does not describe this status and media type")
        return Outcome(status, None, refusal=refusal, uninspected=True)
    return media


def _media(operation: Operation, response: Response) -> MediaPlan | None:
    plan = operation.response(response.status)
    if plan is None:
        return None
    named = response.headers.get("content-type", "")
    simply = plan.media.get(named)
    if simply is not None:
        return simply
    kind, _, options = named.partition(";")
    charset = options.lower().partition("charset=")[2].strip().strip('"').partition(";")[0]
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        return None
    return plan.media.get(kind.strip().lower())


def _named(admission: Admission, media: MediaPlan, value: object) -> Named:
    """Whom the expressions of an answer's plan reach."""
    holder = admission.identity.holder if admission.identity is not None else None
    asked = admission.asked.named if admission.asked is not None else NOBODY
    whole = None if media.lines else value  # a stream is never there as a whole
    return in_answer(media.named, asked, None if holder is None else HOLDER_ID, whole)


def _page(admission: Admission, operation: Operation) -> Page:
    """What the links of an answer are judged by."""
    asked, target = admission.asked, admission.target
    people = asked.people if asked is not None else []
    values: list[str] = []
    path = "/"
    if target is not None:
        path = target.text.partition("?")[0]
        values = [*target.segments, *(value for _, value in target.query)]
    reader = admission.reader
    holder = admission.app_holder or (reader.holder or "").partition(":")[2]
    return Page(reader, operation, path, frozenset(values), frozenset([*people, holder]))


def _new(unmapped: Iterable[RawId], admission: Admission) -> list[RawId]:
    """Those ids that the request did not name, and which are not counted yet."""
    named = admission.asked.people if admission.asked is not None else ()
    return [raw for raw in unmapped if str(raw) not in named]


def _refuser(
    must_permit: Collection[str], permissions: Mapping[RawId, Permission], requirements: tuple[frozenset[str], ...]
) -> Consent | None:
    """Why one of those who must permit refuses, or None."""
    for raw in must_permit:
        refused = refusal_of(permissions[raw], requirements)
        if refused is not None:
            return refused
    return None
