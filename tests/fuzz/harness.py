"""What is fuzzed: each function takes bytes and fails on what must not be. ``SEEDS`` has a few sound inputs for each."""

import copy
import io
import itertools
import json
from collections.abc import Callable, Mapping

from audit_proxy.core import record as audit_record
from audit_proxy.core.catalog import Catalog, compile_catalog
from audit_proxy.core.catalog.compile import CatalogError
from audit_proxy.core.catalog.target import Target, parse_target
from audit_proxy.core.consent import Permission
from audit_proxy.core.detection.distinct import Distinct
from audit_proxy.core.errors import AuditUnavailable, Consent
from audit_proxy.core.inspection import NotInspectable, find_subjects, parse, render
from audit_proxy.core.merkle import kept, note, proof, segments, tiles, tree
from audit_proxy.core.merkle import roster as rosters
from audit_proxy.core.redaction import GONE, Redacted, Redactor, Terms, verdicts_of
from tests.simulator.people import document

_CATEGORIES = frozenset(
    {"user.unique_id", "user.name", "user.contact.email", "user.behavior", "user.social", "user.content"}
)
_DEPTH = 64
_DOCUMENT = document()
_SEED = b"s" * 32
_KEY = note.verifier_key("example.com/log", _SEED)


def _compiled(overlay: dict | None) -> Catalog:
    return compile_catalog(_DOCUMENT, overlay, hash="h", categories=_CATEGORIES)


_PLAN = (
    next(one for one in _compiled(None).operations if one.id == "listFriends")
    .responses["200"]
    .media["application/json"]
    .field
)
_TERMS = Terms(frozenset({"read", "email"}), (frozenset({"read"}),))
_PERMISSIONS = {"1": Permission(_TERMS.available, Consent.token), "2": Permission(frozenset({"read"}), Consent.grant)}


def target(data: bytes) -> None:
    """An accepted request target is in its normal form: read again it is itself, and holds nothing two servers differ on."""
    raw = data.decode("utf-8", "surrogateescape")
    for encoded_slash in (False, True):
        read = parse_target(raw, encoded_slash=encoded_slash)
        if not isinstance(read, Target):
            continue
        assert parse_target(read.text, encoded_slash=encoded_slash) == read
        assert read.text.isascii()
        assert read.text.isprintable()
        assert " " not in read.text
        path = read.text.partition("?")[0]
        assert not {".", "..", ""} & set(path.split("/")[1:-1])
        assert "\\" not in path
        assert ";" not in path
        assert encoded_slash or all("/" not in segment for segment in read.segments)


def overlay(data: bytes) -> None:
    """Lines in turn a JSONPath and an update (JSON; what is none removes): a catalog or a CatalogError; the document stays."""
    lines = data.decode("utf-8", "replace").split("\n")
    actions = []
    for path, update in zip(lines[::2], [*lines[1::2], ""], strict=False):
        try:
            actions.append({"target": path, "update": json.loads(update)})
        except (ValueError, RecursionError):
            actions.append({"target": path, "remove": True})
    before = copy.deepcopy(_DOCUMENT)
    try:
        compiled = _compiled({"overlay": "1.0.0", "actions": actions})
    except CatalogError:
        compiled = None
    assert compiled is None or compiled.operations
    assert before == _DOCUMENT


def inspection(data: bytes) -> None:
    """A body is refused, or read as what it renders to; redacted, it holds nothing that is to be withheld still."""
    for lines in (False, True):
        try:
            value = parse(data, lines=lines)
        except NotInspectable:
            continue
        assert parse(render(value, lines=lines), lines=lines) == value
        for one in value if lines else [value]:
            _redaction(one)


def _redaction(value: object) -> None:
    try:
        find_subjects(_PLAN, value, _DEPTH)
        first = _redacted(value)
    except NotInspectable:
        return
    if first.value is GONE:
        return
    again = _redacted(parse(render(first.value)))
    assert again.withheld == ()
    assert again.value == first.value


def _redacted(value: object) -> Redacted:
    return Redactor(_PERMISSIONS, verdicts_of(_TERMS, {}), max_depth=_DEPTH).redact(_PLAN, value)


def record(data: bytes) -> None:
    """A line is a record or a ValueError; a record's bytes are read as that record, in parts too, and mixed with others."""
    audit_record.part_of(data)
    numbered = list(enumerate(data.split(b"\n")))
    assert [line for one in audit_record.by_record(numbered) for line in one] == numbered
    try:
        read = audit_record.decode(data)
    except (ValueError, RecursionError):
        return
    line = audit_record.encode(read)
    assert audit_record.decode(line) == read
    assert audit_record.encode(audit_record.decode(line)) == line
    people = tuple(name for group in read.disclosed for name in group.subjects) or ("x",)
    whole = {"part": None, "parts": None, "asked": people * (70_000 // sum(len(name) + 3 for name in people) + 1)}
    long = audit_record.Record(**{**{name: getattr(read, name) for name in read.__struct_fields__}, **whole})
    try:
        parts = audit_record.lines(long)
    except AuditUnavailable:
        return
    assert len(parts) > 1
    assert all(len(part) <= audit_record.ENTRY_MAX for part in parts)
    assert audit_record.join([audit_record.decode(part) for part in parts]).asked == long.asked


def checkpoint(data: bytes) -> None:
    """Notes, checkpoints, keys and proofs: NoteInvalid, or a value that is written as it was read."""
    text = data.decode("utf-8", "replace")
    for read in (
        lambda: note.open_checkpoint(data, _KEY),
        lambda: proof.parse_inclusion(data),
        lambda: proof.parse_consistency(data),
    ):
        try:
            read()
        except note.NoteInvalid:
            continue
    try:
        key = note.parse_vkey(text)
    except note.NoteInvalid:
        pass
    else:
        assert note.parse_vkey(note.encode_vkey(key)) == key
    try:  # with a signature that fits, so that what is signed is read as well
        signed = note.open_checkpoint(note.sign(text, _KEY.name, _SEED), _KEY)
    except note.NoteInvalid:
        return
    assert note.open_checkpoint(note.sign_checkpoint(signed, _SEED), _KEY) == signed


def kept_checkpoints(data: bytes) -> None:
    """A file of kept checkpoints: no line is passed over, and a note behind whatever it is is found."""
    before = data if kept.ends_whole(data) else data + kept.SEPARATOR
    whole = before + SEEDS["checkpoint"][0]
    found = list(kept.entries(kept.lines(io.BytesIO(whole).readline)))
    assert kept.judge(found[-1], _KEY).standing == "own"
    assert [one for entry in found for one in entry.data.split(b"\n") if one] == [
        one for one in whole.split(b"\n") if one
    ]
    for entry in found:
        judged = kept.judge(entry, _KEY)
        assert (judged.checkpoint is not None) == (judged.standing == "own")
        assert judged.standing == "own" or entry.data != SEEDS["checkpoint"][0]


def roster(data: bytes) -> None:
    """A text is a roster or NoteInvalid; a roster is written as it was read, and signed, it is that roster."""
    text = data.decode("utf-8", "replace")
    try:
        read = rosters.parse_roster(text)
    except note.NoteInvalid:
        return
    assert rosters.encode_roster(read) == text
    assert rosters.open_roster(rosters.sign_roster(read, _KEY.name, _SEED), _KEY) == read


def tile(data: bytes) -> None:
    """Bundles are read as they would be written, or a ValueError; segments follow one another; an edge gives its root."""
    try:
        entries = tiles.decode_bundle(data)
    except ValueError:
        pass
    else:
        assert tiles.encode_bundle(entries) == data
    try:
        found = segments.segments(data.decode("utf-8", "replace").split("\n"))
    except ValueError:
        found = []
    assert all(one.first + (one.records or 0) == after.first for one, after in itertools.pairwise(found))
    whole = len(data) // tree.HASH_BYTES
    leaves = [data[n * tree.HASH_BYTES : (n + 1) * tree.HASH_BYTES] for n in range(whole)]
    edge, _ = tiles.extend(tiles.Edge(), leaves)
    assert tiles.edge_root(edge) == tree.root(whole, tree.subtrees_of(leaves))


def distinct(data: bytes) -> None:
    """A snapshot that is read is what a snapshot of what was read gives, and what was read counts on as any other."""
    try:
        read = Distinct.restore(data)
    except ValueError:
        return
    assert read.snapshot() == data
    before = read.counts(0.0)
    assert all(0 <= count < float("inf") for count in before.values())
    read.add(
        0.0, [n * 0x9E3779B97F4A7C15 % (1 << 64) for n in range(99, 150)]
    )  # mostly late: it counts at the latest moment
    after = read.counts(0.0)
    assert all(after[name] >= before[name] for name in before)
    assert Distinct.restore(read.snapshot()).counts(0.0) == after


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (target, overlay, inspection, record, checkpoint, kept_checkpoints, roster, tile, distinct)
}
_RECORD = audit_record.encode(
    audit_record.Record(
        v=1,
        id=audit_record.uuid7(1_800_000_000, bytes(10)),
        ts=audit_record.timestamp(1_800_000_000.5),
        node="n",
        kind="access",
        disclosed=(audit_record.Group(("/data/id",), ("user.unique_id",), "third_party", "grant", ("AAAA", "BBBB")),),
        would=audit_record.Would(decision="redact"),
        counts={"people": 2},
        detail={"a": [1, 2.5, None]},
    )
)


def _snapshots() -> tuple[bytes, ...]:
    """Nobody, a few people, and in sketches more."""
    several = Distinct({"1m": 60.0, "1h": 3600.0}, exact_max=8, lg_k=7)
    taken = [several.snapshot()]
    for n in range(12):
        several.add(1.8e9 + 9.0 * n, [(n * 3 + i) * 0x9E3779B97F4A7C15 % (1 << 64) for i in range(7)])
        taken.append(several.snapshot())
    return (*taken[:2], taken[-1])


SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "target": (b"/people/1/friends?fields=id,name&limit=10", b"/a%2Fb/%C3%A9/.%2e/?q=%20+&q=", b"/a;b\\c//./..%00"),
    "overlay": (
        b'$.paths[\'/people/{id}\'].get\n{"x-required-scopes":["a"]}\n$..schema[?@.type]\n',
        b'$.components.schemas.Person.properties.*\n{"x-data-category":"none","x-withhold":null}',
        b'$.components.schemas\n{"Person":{"allOf":[{"$ref":"#/components/schemas/Person"}]}}',
    ),
    "inspection": (
        b'{"data":[{"id":"1","name":"a","email":"b","score":1.5,"friends":[{"id":2}]}],"total":3,"next":"x"}',
        b'{"data":[{"id":"2"}]}\n[]\n{"a":1e400}\n-0.0\n123456789012345678901234567890\n"\\ud800"',
    ),
    "record": (_RECORD, _RECORD.replace(b',"ts"', b',"part":1,"parts":3,"ts"') + b"\n" + _RECORD),
    "checkpoint": (
        note.sign_checkpoint(note.Checkpoint(_KEY.name, 7, bytes(32)), _SEED),
        f"{_KEY.name}\n7\n{'A' * 43}=\next\n".encode(),
        note.encode_vkey(_KEY).encode(),
    ),
    "kept_checkpoints": (
        note.sign_checkpoint(note.Checkpoint(_KEY.name, 7, bytes(32)), _SEED) * 2 + b"torn\n\n\n",
        note.sign_checkpoint(note.Checkpoint("example.com/other", 8, bytes(32)), b"o" * 32)[:-9],
    ),
    "roster": tuple(
        rosters.encode_roster(rosters.Roster(logs)).encode()
        for logs in (
            (rosters.Listed(_KEY), rosters.Listed(note.verifier_key("example.com/other", _SEED), 81_923)),
            (rosters.Listed(_KEY, 0),),
        )
    ),
    "tile": (
        tiles.encode_bundle([b"a", b"", b"c" * 300]),
        bytes(range(256)) * 2,
        b"00000000000000000000.jsonl\n00000000000000000007.jsonl\nx",
    ),
    "distinct": _snapshots(),
}
