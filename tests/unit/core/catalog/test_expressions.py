"""Runtime expressions: whom a request or an answer names."""

import pytest

from audit_proxy.core.catalog.expressions import HOLDER, in_answer, in_request, parse_expression
from tests.unit.core.catalog.documents import answering, build

EMAIL = {"type": "string", "x-data-category": "user.contact.email"}


@pytest.mark.parametrize(
    "text", ["$request.path.id", "$request.query.a.b", "$request.body#/a/0", "$response.body#/a~1b", HOLDER]
)
def test_expressions_that_name_people(text) -> None:
    """Parameters, places in either body, and the holder."""
    found = parse_expression(text)
    assert found is not None
    assert found.text == text


@pytest.mark.parametrize(
    "text", ["", "/id", "$key", "$url", "$request.path.", "$request.body", "$request.body#", "$request.header.x", "$response.header.x"]
)  # fmt: skip
def test_everything_else_is_none(text) -> None:
    """Also what OpenAPI knows and no id can come from safely."""
    assert parse_expression(text) is None


def test_what_expressions_reach() -> None:
    """Values of parameters and of either body; None for someone who cannot be resolved."""
    texts = ["$request.path.id", "$request.path.no", "$request.query.q", "$request.query.no", "$request.body#/a/b", "$request.body#/no", "$response.body#/x/id", "$response.body#/no", HOLDER]  # fmt: skip
    expressions = [found for found in map(parse_expression, texts) if found is not None]
    asked = in_request(expressions, {"id": "7"}, [("q", "1"), ("r", "9"), ("q", "2")], {"a": [{"b": 3}, {"b": 4}]})
    found = in_answer(expressions, asked, "8", {"x": [{"id": 5}, {}]})
    assert [found[text] for text in texts] == [
        ["7"],
        [None],
        ["1", "2"],
        [None],
        [3, 4],
        [None],
        [5, None],
        [None],
        ["8"],
    ]
    assert in_answer(expressions, {}, None, None) == {text: [None] for text in texts}


def test_an_empty_list_of_people_is_somebody_unknown() -> None:
    """Else what names nobody would be about nobody in particular."""
    expression = parse_expression("$request.body#/a")
    assert expression is not None
    assert in_request([expression], {}, [], {"a": []}) == {"$request.body#/a": [None]}


def test_a_parameter_that_an_expression_reads_names_a_person() -> None:
    """On a media type as on a schema; one that is not described is a finding."""
    document = answering({"type": "object", "properties": {"email": EMAIL}})
    operation = document["paths"].pop("/x")
    document["paths"]["/p/{id}"] = operation
    media = operation["get"]["responses"]["200"]["content"]["application/json"]
    media["x-data-subject"] = ["$request.path.id", "$request.query.who"]
    found = build(document)
    assert found.operations[0].parameters["path", "id"].names_person
    assert [one.text for one in found.operations[0].named] == ["$request.path.id", "$request.query.who"]
    assert found.findings == (
        "GET /p/{id}: op: x-data-subject $request.query.who: no such parameter; anyone it names counts as refused",
    )
