"""Monitor alters nothing: the app's bytes with the proxy and without it, for every refusal, every kind of answer, every outage;
and its records say what enforce's would."""

from audit_proxy.core.errors import Reason
from audit_proxy.core.record import Group, Record
from tests.integration.monitor_corpus import CASES, Case, difference, granted, heard, proxied, teach
from tests.simulator.proxy import ProxyHere

PEOPLE = ("1", "2", "3", "4", "9")


async def test_every_answer_is_the_platforms(tmp_path, upstream) -> None:
    """Status line, fields and body, to the byte and to where it breaks off, whatever enforce would make of them."""
    teach(upstream)
    async with proxied(tmp_path, upstream.url, "monitor") as proxy:
        await granted(proxy)
        for name, case in CASES.items():
            assert await difference(upstream, proxy, name, case) is None


async def test_answers_follow_one_another_on_a_connection(tmp_path, upstream) -> None:
    """Each ends where its framing says: the next begins there, whether it has a length, chunks, or no body."""
    names = [
        "people",
        "chunked",
        "HEAD",
        "204",
        "304",
        "empty",
        "unjudged in chunks",
        "no token",
        "HEAD, chunked",
        "404",
        "people",
    ]
    teach(upstream)
    async with proxied(tmp_path, upstream.url, "monitor") as proxy:
        await granted(proxy)
        asked = [CASES[name].request(name, proxy) for name in names]
        alone = [await heard(proxy.running.data_port, one) for one in asked]
        staying = [one.replace(b"Connection: close\r\n", b"") for one in asked[:-1]]
        together = await heard(proxy.running.data_port, b"".join([*staying, asked[-1]]))
        expected = [one.replace(b"Connection: close\r\n", b"") for one in alone[:-1]]
        assert together == b"".join([*expected, alone[-1]])


_HOP = {"host", "connection", "content-length", "transfer-encoding", "expect", "upgrade", "te"}
_FORWARDING = {"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
_ODD = (
    "Cookie: a=1; b=2", "Cookie: c=3", "x-lower-UPPER: 1", "X-Two: 2", "x-two: 1", "ACCEPT: a/b", "accept-language: de", "X-Empty:", "X-HTTP-Method-Override: PUT",
    "X-Original-URL: /admin", "X-Audit-Id: 1", "Proxy-Status: x", "Range: bytes=0-9", "If-None-Match: *", "Accept-Encoding: lzip",
    "Upgrade: h2c", "TE: trailers", "Origin: https://a.example", "X-Text: caf\u00e9",
)  # fmt: skip
FORMS = {
    "odd fields": Case(fields=_ODD),
    "an empty query": Case(line="GET /people/1? HTTP/1.1"),
    "an odd query": Case(line="GET /people/1?&&=?a=%zz&b=[]&b HTTP/1.1"),
    "an odd path": Case(line="GET /people//../1/%2e%2E/%;x=1/\\ HTTP/1.1"),
    "a body": Case(line="PATCH /people/1 HTTP/1.1", fields=("Content-Type: a/b; c",), body=b"\0\xff" * 99),
    "a body in chunks": Case(line="POST /posts HTTP/1.1", fields=("Transfer-Encoding: chunked",)),
    "no body": Case(line="POST /posts HTTP/1.1"),
}


async def test_the_platform_gets_the_apps_own_request(tmp_path, upstream) -> None:
    """Method, target, fields in their order and body; only framing and what tells of the forwarding is the proxy's, and a
    name that stands twice is spelled as it was first."""
    teach(upstream)

    def told(skip):
        (request,) = upstream.requests
        upstream.clear()
        spelled: dict[str, str] = {}
        fields = [
            (spelled.setdefault(name.lower(), name), value)
            for name, value in request.headers
            if name.lower() not in skip
        ]
        return request.method, request.target, fields, request.body

    async with proxied(tmp_path, upstream.url, "monitor") as proxy:
        for name, case in (CASES | FORMS).items():
            request = case.request(name, proxy)
            if "Transfer-Encoding: chunked" in case.fields:
                request += b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n"
            await heard(upstream.port, request)
            direct = told(_HOP)
            await heard(proxy.running.data_port, request)
            assert direct == told(_HOP | _FORWARDING), name


# Reasons that no record of monitor holds, and why.
_NEVER = {
    Reason.request_malformed: "no request of this API: refused in both modes, since it can be read in several ways",
    Reason.app_gone: "nobody is left to answer",
    Reason.app_too_slow: "the connection is cut in both modes",
    Reason.overloaded: "refused before anything is read of the request, in both modes",
    Reason.audit_unavailable: "there is no record",
    Reason.cursor_invalid: "a cursor that is not sealed is the platform's own, as monitor lets them out",
}
# Reasons that other tests here provoke: outages, and a platform that gives no answer.
_OUTAGES = {
    Reason.keys_unavailable,
    Reason.introspection_unavailable,
    Reason.holder_unavailable,
    Reason.internal_error,
    Reason.upstream_unreachable,
    Reason.upstream_timeout,
}
# Reasons of data budgets, which monitor only tells of: test_budgets.py.
_BUDGETS = {Reason.over_budget, Reason.holder_blocked, Reason.app_quarantined}


def test_every_reason_is_tried() -> None:
    """A new reason belongs into the corpus, or is named with why it cannot occur."""
    tried = {case.reason for case in CASES.values()} - {None}
    assert tried | _OUTAGES | _BUDGETS | set(_NEVER) == set(Reason)
    assert not tried & set(_NEVER)


def in_words(groups: tuple[Group, ...], proxy: ProxyHere) -> set[tuple[str, str, str, str]]:
    """(field, relation, ground, person) of all groups: two proxies' pseudonyms differ."""
    people = {proxy.pseudonym(one): one for one in PEOPLE}
    return {
        (field, group.relation, group.consent, person)
        for group in groups
        for field in (group.fields or ["-"])
        for person in ([people[one] for one in group.subjects] or ["-"])
    }


async def recorded(proxy: ProxyHere, name: str, case: Case) -> list[Record]:
    """The records of one exchange."""
    before = len(proxy.records())
    await heard(proxy.running.data_port, case.request(name, proxy))
    return proxy.records()[before:]


async def test_would_is_what_enforce_does(tmp_path, upstream) -> None:
    """Decision, reason and what would be withheld about whom, exchange by exchange; what left is all that enforce lets leave and
    withholds; what nobody looked into says so."""
    teach(upstream)
    async with (
        proxied(tmp_path / "monitor", upstream.url, "monitor") as monitor,
        proxied(tmp_path / "enforce", upstream.url, "enforce") as enforce,
    ):
        await granted(monitor)
        await granted(enforce)
        for name, case in CASES.items():
            passed = (await recorded(monitor, name, case))[-1]
            *earlier, done = await recorded(enforce, name, case)
            would = passed.would
            assert would is not None, name
            assert (passed.decision, passed.reason, passed.withheld, passed.phase) == ("allow", None, (), None), name
            assert done.phase is None, name
            if case.unknown:
                assert (would.decision, would.reason, passed.uninspected) == ("unknown", None, True), name
                continue
            assert done.reason == case.reason, name
            assert (would.decision, would.reason) == (done.decision, done.reason), name
            chunks = [one for one in earlier if one.phase == "chunk"]  # a stream's
            withheld = set().union(*(in_words(one.withheld, enforce) for one in [*chunks, done]))
            assert in_words(would.withheld, monitor) == withheld, name
            assert passed.uninspected or passed.disclosed or not passed.bytes, name
            if done.decision != "deny":  # enforce looked into it as well
                disclosed = set().union(*(in_words(one.disclosed, enforce) for one in [*chunks, done]))
                assert in_words(passed.disclosed, monitor) == disclosed | withheld, name
                assert passed.uninspected == done.uninspected, name


async def test_the_record_names_all_that_left(tmp_path, upstream) -> None:
    """Every field of everybody in the answer, whatever enforce would have withheld and why, also of a request without a scope."""
    teach(upstream)

    def expected(operation: str) -> set[tuple[str, str, str]]:
        return {
            *((f"Person.{field}", "holder", "1") for field in ("id", "name", "email")),
            *((f"Person.{field}", "third_party", "2") for field in ("id", "name", "email", "score")),
            *((f"Person.{field}", "third_party", "3") for field in ("id", "name", "?")),  # a field that no schema knows
            *((f"Person.{field}", "third_party", "4") for field in ("id", "name")),
            (f"{operation}.total", "none", "-"),
        }

    async with proxied(tmp_path, upstream.url, "monitor") as proxy:
        await granted(proxy)
        (record,) = await recorded(proxy, "a refusing person", CASES["a refusing person"])
        told = {(field, person) for field, _, _, person in in_words(record.disclosed, proxy)}
        assert told == {("Person.id", "3"), ("Person.name", "3")}
        for name in ("people", "gzip", "chunked", "scope", "refusing people"):
            (record,) = await recorded(proxy, name, CASES[name])
            assert not record.uninspected
            told = {(field, relation, person) for field, relation, _, person in in_words(record.disclosed, proxy)}
            assert record.operation is not None
            assert told == expected(record.operation), name
