"""Statements about consent: what is one, what is refused, and that no line of a file is lost or forged."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.statements import (
    LINE_MAX,
    FileInvalid,
    GrantStatement,
    Refused,
    StatementInvalid,
    StatementReader,
    WithdrawalStatement,
    grant,
    statement,
    withdrawal,
)

GOOD = {"app": "quiz", "subject": "person:1", "scopes": ["photos", "likes"], "purpose": "marketing.advertising"}
GONE = {"app": "quiz", "subject": "person:1", "withdrawn": True}


def made(**more):
    return statement(json.dumps({**GOOD, **more}).encode())


def read(form, *blocks):
    reader = StatementReader(form)
    return [each for block in blocks for each in reader.feed(block)] + list(reader.finish())


def test_a_grant_is_read_with_all_its_keys():
    """Scopes become canonical, times seconds since the epoch."""
    found = made(
        expires_at="2001-09-09T03:46:40+02:00", granted_at="1970-01-01T00:00:01.5Z", source="s", evidence="ünïcode"
    )
    assert found == GrantStatement(
        "quiz", "person:1", "likes photos", "marketing.advertising", 1_000_000_000.0, 1.5, "s", "ünïcode"
    )
    assert made(scopes="likes photos") == made(scopes=["photos", "likes", "likes"]) == made()
    assert made(expires_at=None, withdrawn=False) == made()


def test_a_withdrawal_is_read():
    """From one app or from all, with or without its time."""
    assert statement(json.dumps(GONE).encode()) == WithdrawalStatement("quiz", "person:1")
    dated = {**GONE, "app": "*", "withdrawn_at": "1970-01-01T00:00:05Z", "source": "mail"}
    assert statement(json.dumps(dated).encode()) == WithdrawalStatement("*", "person:1", 5.0, "mail")


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"app": "*"}, "app"),
        ({"app": ""}, "app"),
        ({"app": ".."}, "app"),
        ({"app": "a\n"}, "app"),
        ({"app": "ä"}, "app"),
        ({"app": "x" * 257}, "app"),
        ({"app": 5}, "app"),
        ({"subject": "1"}, "subject"),
        ({"subject": ":1"}, "subject"),
        ({"subject": "person:"}, "subject"),
        ({"subject": "Person:1"}, "subject"),
        ({"subject": "person:1\n"}, "subject"),
        ({"subject": "person:1\x00"}, "subject"),
        ({"subject": "person:\u2028"}, "subject"),
        ({"subject": "person:\ud800"}, "subject"),
        ({"subject": "person:" + "x" * 257}, "subject"),
        ({"scopes": None}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ""}, "scopes"),
        ({"scopes": [""]}, "scopes"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"scopes": "a  b"}, "scopes"),
        ({"scopes": " a"}, "scopes"),
        ({"scopes": "a\tb"}, "scopes"),
        ({"scopes": ['a"b']}, "scopes"),
        ({"scopes": ["a\\b"]}, "scopes"),
        ({"scopes": ["é"]}, "scopes"),
        ({"scopes": ["a", 1]}, "scopes"),
        ({"scopes": ["x" * 5000]}, "scopes"),
        ({"purpose": None}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": "Marketing"}, "purpose"),
        ({"purpose": "essential."}, "purpose"),
        ({"purpose": "marketing..email"}, "purpose"),
        ({"purpose": "marketing\n"}, "purpose"),
        ({"purpose": "a" * 257}, "purpose"),
        ({"expires_at": "2031-01-01"}, "expires_at"),
        ({"expires_at": "2031-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": "1969-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"expires_at": ""}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"granted_at": "yesterday"}, "granted_at"),
        ({"source": "x" * 257}, "source"),
        ({"evidence": "a\x1bb"}, "evidence"),
        ({"evidence": None}, "evidence"),
        ({"withdrawn_at": "2031-01-01T00:00:00Z"}, "withdrawn_at"),
        ({"withdrawn": 1}, "withdrawn"),
        ({"withdrawn": True}, "scopes"),
        ({"more": 1}, "not known"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name_of_the_key(more, names):
    """Each broken rule is an error that names the key and shows no value."""
    with pytest.raises(StatementInvalid, match=names) as caught:
        made(**more)
    for value in more.values():
        if isinstance(value, str) and len(value) > 3:
            assert value not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"[]",
        b'["a\\"b"]',
        b'"text"',
        b"{} {}",
        b'{"app": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 60_000,
        b'{"app":' * 10_000,
        b'{"app":"a","app":"quiz","subject":"person:1","scopes":"likes","purpose":"marketing"}',
        b'{"\\u0061pp":"a","app":"quiz","subject":"person:1","scopes":"likes","purpose":"marketing"}',
        b'{"app" \t:"a","app":"quiz","subject":"person:1","scopes":"likes","purpose":"marketing"}',
        b'{"app":NaN,"subject":"person:1","scopes":"likes","purpose":"marketing"}',
        '{"app":"quiz","subject":"person:1","scopes":"likes","purpose":"marketing"}'.encode("utf-16"),
    ],
)
def test_what_is_not_one_json_object_with_each_key_once_is_refused(line):
    """Broken, nested beyond reason, not UTF-8, a key twice in whatever spelling: refused."""
    with pytest.raises(StatementInvalid):
        statement(line)


TEXT = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)


@given(TEXT, TEXT, st.booleans(), st.sampled_from([None, (",", ":"), (" , ", " : ")]))
def test_every_text_comes_through_as_it_is(source, evidence, ascii_only, separators):
    """Quotes, backslashes and colons in texts disturb nothing, however the JSON is written."""
    value = {**GOOD, "source": source, "evidence": evidence}
    line = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode()
    found = statement(line)
    assert (found.source, found.evidence) == (source, evidence)


@given(st.sampled_from(list(GOOD)), TEXT, st.booleans())
def test_no_key_twice_is_overlooked(key, text, first):
    """A line that names a key twice is refused, whatever stands in its texts."""
    pairs = [*({**GOOD, "source": text}).items()]
    pairs.insert(0 if first else len(pairs), (key, GOOD[key]))
    body = ", ".join(
        f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}" for name, value in pairs
    )
    with pytest.raises(StatementInvalid, match="twice"):
        statement(("{" + body + "}").encode())


def test_bodies_name_neither_app_nor_subject():
    """What the path says cannot be said otherwise by the body."""
    body = b'{"scopes": "likes", "purpose": "marketing"}'
    assert grant(body, "quiz", "person:1") == GrantStatement("quiz", "person:1", "likes", "marketing")
    assert (
        withdrawal(b"", "*", "person:1") == withdrawal(b"{}", "*", "person:1") == WithdrawalStatement("*", "person:1")
    )
    for wrong in (b'{"app": "a"}', b'{"subject": "person:2"}', b'{"withdrawn": false}', b'{"scopes": "likes"}'):
        with pytest.raises(StatementInvalid):
            withdrawal(wrong, "quiz", "person:1")
    for wrong in (b'{"app": "a", "scopes": "likes", "purpose": "m"}', b'{"withdrawn": true}'):
        with pytest.raises(StatementInvalid):
            grant(wrong, "quiz", "person:1")


# -- files

LINE = json.dumps(GOOD).encode()


def test_lines_are_numbered_blank_ones_too():
    """Line ends of both kinds, a byte order mark, blank lines, a last line without its end."""
    data = b"\xef\xbb\xbf" + LINE + b"\r\n\n  \n{\n" + LINE
    assert [number for number, _ in read("ndjson", data)] == [1, 4, 5]
    assert isinstance(read("ndjson", data)[1][1], Refused)


@given(st.integers(1, 200))
def test_blocks_may_cut_lines_anywhere(size):
    """However the file arrives, the same lines are read."""
    data = (LINE + b"\n") * 3 + b"x\n" + LINE
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    assert read("ndjson", *blocks) == read("ndjson", data)
    assert len(read("ndjson", data)) == 5


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_too_long_a_line_is_refused_alone_and_not_kept(form):
    """A line beyond the bound is one refused line, in one block or many, at the end too; what follows is read."""
    head = b"" if form == "ndjson" else b"app,subject,scopes,purpose\n"
    good = LINE if form == "ndjson" else b"quiz,person:1,likes,marketing"
    for blocks in (
        [b"x" * (LINE_MAX + 1) + b"\n" + good],
        [*[b"x" * 1000] * 200, b"\n", good],
        [good, b"\n", *[b"y" * 5000] * 20],
    ):
        lines = [line for _, line in read(form, head, *blocks)]
        assert sorted(isinstance(line, Refused) for line in lines) == [False, True]
    reader = StatementReader(form)
    for _ in range(100):
        assert list(reader.feed(b"x" * 10_000)) == []
        assert len(reader._rest) <= LINE_MAX


@pytest.mark.parametrize(
    ("line", "maybe"),
    [
        (b'{"withdrawn": true', True),
        (b'{"app":"quiz","withdrawn" :true,"subject":"nobody"}', True),
        (b'{"app":"quiz","withdrawn":"yes"}', True),
        (b'{"app":"quiz","withdrawn":false}', False),
        (b'{"app":"quiz","withdrawn": false', False),
        (b'{"app":"quiz"}', False),
    ],
)
def test_a_refused_line_that_may_be_a_withdrawal_is_marked(line, maybe):
    """A lost grant withholds; a lost withdrawal would disclose: so it is told apart."""
    ((_, refused),) = read("ndjson", line)
    assert refused.maybe_withdrawal is maybe


def rows(*fields):
    out = io.StringIO()
    csv.writer(out).writerows(fields)
    return out.getvalue().encode()


def test_csv_columns_go_by_name():
    """Any order and choice of columns; empty fields are absent."""
    data = rows(
        ["withdrawn", "subject", "purpose", "scopes", "app", "evidence"],
        ["", "person:1", "marketing", "photos likes", "quiz", 'a "b", c'],
        ["true", "person:2", "", "", "*", ""],
        ["false", "person:3", "marketing", "likes", "quiz", ""],
    )
    assert [line for _, line in read("csv", data + b"\r\n")] == [
        GrantStatement("quiz", "person:1", "likes photos", "marketing", evidence='a "b", c'),
        WithdrawalStatement("*", "person:2"),
        GrantStatement("quiz", "person:3", "likes", "marketing"),
    ]


@pytest.mark.parametrize(
    "header", [b"", b"app,subject,secret", b"app,app,subject", b"app", b'"app', b"\xff", b"App,Subject"]
)
def test_a_csv_without_its_header_is_refused_as_a_whole(header):
    """A file whose columns are unknown is not guessed at."""
    with pytest.raises(FileInvalid):
        read("csv", header + b"\nquiz,person:1\n")


@pytest.mark.parametrize(
    "row",
    [
        b"quiz,person:1,likes",
        b"quiz,person:1,likes,marketing,,x",
        b'quiz,person:1,likes,marketing,"a"b',
        b"quiz,person:1,likes,marketing,\xff",
        b"quiz,person:1,likes,marketing,a\x00",
        b"quiz,,likes,marketing,",
    ],
)
def test_a_bad_csv_row_is_refused_alone(row):
    """The row after it is read."""
    data = b"app,subject,scopes,purpose,evidence\n" + row + b"\nquiz,person:2,likes,marketing,\n"
    first, second = (line for _, line in read("csv", data))
    assert isinstance(first, Refused)
    assert second.subject == "person:2"
    assert not first.maybe_withdrawal


@pytest.mark.parametrize(("value", "maybe"), [("yes", True), ("TRUE", True), ("false", False), ("", False)])
def test_a_refused_csv_row_that_may_be_a_withdrawal_is_marked(value, maybe):
    """Any word but false in the withdrawn column may be meant as one."""
    ((_, refused),) = read("csv", f"app,subject,withdrawn\nquiz,nobody,{value}\n".encode())
    assert refused.maybe_withdrawal is maybe


def test_text_inside_quotes_cannot_forge_a_line():
    """A person's text with a line break and a whole grant in it does not become that grant."""
    forged = "quiz,person:999,photos,marketing,"
    data = rows(
        ["app", "subject", "scopes", "purpose", "evidence"],
        ["quiz", "person:1", "likes", "marketing", f'he said\n{forged}\n"and" more'],
        ["quiz", "person:2", "likes", "marketing", ""],
    )
    lines = [line for _, line in read("csv", data)]
    assert [line.subject for line in lines if isinstance(line, GrantStatement)] == ["person:2"]
    assert [isinstance(line, Refused) for line in lines] == [True, True, True, False]


def test_an_unclosed_quote_loses_no_more_than_a_lines_bound():
    """A quote nobody closes: each swallowed line is told, and after 64 KiB reading goes on."""
    good = b"quiz,person:2,likes,marketing,\n"
    count = 2 * LINE_MAX // len(good)
    data = b'app,subject,scopes,purpose,evidence\nquiz,person:1,likes,marketing,"x\n' + good * count
    lines = [line for _, line in read("csv", data)]
    assert len(lines) == count + 1
    refused = sum(isinstance(line, Refused) for line in lines)
    assert LINE_MAX // len(good) <= refused <= LINE_MAX // len(good) + 3


@given(st.binary(max_size=300), st.sampled_from(["ndjson", "csv"]))
def test_any_bytes_are_read_or_refused(data, form):
    """No file makes the reader fail otherwise than by refusing."""
    try:
        lines = read(form, b"app,subject\n" if form == "csv" else b"", data)
    except FileInvalid:
        return
    assert all(isinstance(line, Refused | GrantStatement | WithdrawalStatement) for _, line in lines)
