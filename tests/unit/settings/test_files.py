"""YAML, read strictly, with places."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.settings import files
from audit_proxy.settings.files import ConfigProblems, Problem, core_scalar, foreign_yaml, parse_yaml, read_yaml

HERE = Path("x.yaml")


def value(text: str):
    return parse_yaml(HERE, text.encode()).value


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigProblems) as raised:
        parse_yaml(HERE, text.encode() if isinstance(text, str) else text)
    return [str(one) for one in raised.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("NO", "NO"), ("true", True), ("False", False),
        ("TRUE", True), ("tRUE", "tRUE"), ("null", None), ("~", None), ("", None), ("5", 5), ("-5", -5), ("+5", 5), ("0", 0),
        ("0x1F", 31), ("0o17", 15), ("017", "017"), ("007", "007"), ("1_000", "1_000"), ("12:30", "12:30"), ("1:2:3", "1:2:3"),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("01.5", "01.5"), (".inf", ".inf"), (".nan", ".nan"), ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), ("'5'", "5"), ('"true"', "true"), ("<<", "<<"), ("=", "="),
        ("9" * 400, "9" * 400),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, expected):
    """No Norway problem, no sexagesimal numbers, no dates, no octal ids; quotes always make text."""
    found = value(f"a: {text}\n")["a"]
    assert found == expected
    assert type(found) is type(expected)


@given(st.text(alphabet="+-.0123456789eExXoOaf_:~ntrufals", min_size=1, max_size=8))
def test_a_scalar_that_is_a_number_is_one_in_its_own_notation(text):
    """Whatever is no number stays the very text."""
    found = core_scalar(text)
    if isinstance(found, str):
        assert found == text
    elif isinstance(found, float):
        assert found == float(text)
    elif type(found) is int:
        assert found == int(text, 0)


def test_a_key_that_stands_twice_is_a_problem_and_each_one_is_told():
    """Not only the first, and with its place."""
    assert problems("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n") == [
        "x.yaml:4:3: the key 'c' stands here a second time; remove one",
        "x.yaml:5:1: the key 'a' stands here a second time; remove one",
    ]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("a: [1\nb: 2", "x.yaml:2:", "not valid YAML"), ("a:\n\tb: 1", "x.yaml:2:", "not valid YAML"),
        ("a: 1\n--- \nb: 2", "x.yaml:2:1", "second document"), ("1: 2", "x.yaml:1:1", "a key must be text"),
        ("true: 2", "x.yaml:1:1", "a key must be text"), ("? [a]\n: 2", "x.yaml:1:3", "a key must be text"),
        ("a: !!python/object/apply:os.system ['x']", "x.yaml:1:4", "tag"), ("a: !env X", "x.yaml:1:4", "tag"),
        ("a: !!int '5'", "x.yaml:1:4", "tag"), ("a: *b", "x.yaml:1:4", "alias"), ("&a [*a]", "x.yaml:1:5", "alias"),
        ("&a {b: *a}", "x.yaml:1:8", "alias"), ("a: " + "[" * 50, "x.yaml:1:43", "deeper"), ("[" * 1_000_000, "x.yaml:1:41", "deeper"),
        ("{a: " * 100_000, "x.yaml:1:161", "deeper"), ("a: \x00", "x.yaml: ", "not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_place(text, place, what):
    """Tags, several documents, odd keys, values that hold themselves, and nesting that would exhaust a C stack."""
    (problem,) = problems(text)
    assert problem.startswith(place)
    assert what in problem


@pytest.mark.parametrize("escape", ["\\0", "\\e", "\\b", "\\r", "\\x7f", "\\x9b"])
def test_control_characters_are_refused_and_each_is_told(escape):
    """They could end a path early, or write to the terminal that shows a problem; a vendor's prose may hold them."""
    text = f'a: "x{escape}y"\n"b{escape}": 1\n'
    assert problems(text) == [
        "x.yaml:1:4: a control character is written here; remove it",
        "x.yaml:2:1: a control character is written here; remove it",
    ]
    assert list(foreign_yaml(HERE, text.encode()).values())[1] == 1
    assert value('a: "x\\ty\\nz"') == {"a": "x\ty\nz"}


def test_a_file_that_is_not_utf_8_is_refused_with_its_line():
    assert problems(b"a: 1\nb: \xff\n") == ["x.yaml:2:1: is not UTF-8; save it as UTF-8"]
    assert problems("a: 1".encode("utf-16"))[0].startswith("x.yaml:1:1: is not UTF-8")


def test_aliases_share_a_value_and_are_bounded(monkeypatch):
    """What they stand for counts wherever they stand: a billion laughs are refused."""
    assert value("a: &x [1, 2]\nb: *x\n") == {"a": [1, 2], "b": [1, 2]}
    monkeypatch.setattr(files, "VALUES_MAX", 10_000)
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    assert "aliases written out" in problems(laughs)[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n...\n"])
def test_a_file_of_nothing_is_nothing(text):
    assert value(text) is None


def test_problems_have_the_place_of_the_value_or_of_its_key():
    document = parse_yaml(HERE, b"a:\n  - b: 1\n  - b:  two\n    'c': 3\n")
    assert document.problem(("a", 1, "b"), "t") == Problem("x.yaml", 3, 9, "t")
    assert document.problem(("a", 1, "b"), "t", key=True) == Problem("x.yaml", 3, 5, "t")
    assert document.problem(("a", 1, "c"), "t", key=True) == Problem("x.yaml", 4, 5, "t")
    assert document.problem(("a", 1, "missing", "deeper"), "t", key=True) == Problem("x.yaml", 3, 5, "t")
    assert document.problem((), "t") == Problem("x.yaml", 1, 1, "t")
    assert document.named(("a", 1, "b", "str")) == "a[1].b"


def test_a_missing_or_unreadable_file_says_so(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigProblems) as raised:
            read_yaml(path)
        assert str(raised.value).startswith(f"{path}: ")


def test_foreign_yaml_may_have_numbers_as_keys():
    """OpenAPI documents write status codes so; the key is the text as it stands."""
    text = b"responses: {200: {a: true}, '404': {b: 1}, 1e3: x, true: y}\n"
    assert foreign_yaml(HERE, text) == {"responses": {"200": {"a": True}, "404": {"b": 1}, "1e3": "x", "true": "y"}}
    with pytest.raises(ConfigProblems, match="a second time"):
        foreign_yaml(HERE, b"200: a\n'200': b\n")
    with pytest.raises(ConfigProblems, match="deeper"):
        foreign_yaml(HERE, b"[" * 100_000)


def test_the_pure_python_loader_reads_the_same(monkeypatch):
    """PyYAML comes without its C part in places."""
    monkeypatch.setattr(files, "_LOADER", yaml.SafeLoader)
    assert value("a: yes\nb: [1, 0x1f, 'x', {c: null}]\nd: |\n  text\n") == {
        "a": "yes",
        "b": [1, 31, "x", {"c": None}],
        "d": "text\n",
    }
    assert "a second time" in problems("a: 1\na: 2")[0]
    assert "not valid YAML" in problems("a: \x00")[0]


SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(alphabet="ab1 :#-\n'\"yesno~.é", max_size=6)
)
KEYS = st.text(alphabet="abyesno1~ ", min_size=1, max_size=4)


@given(
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
    )
)
def test_what_pyyaml_writes_is_read_back(written):
    """Quoted as PyYAML quotes, every value comes back with its type."""
    text = yaml.safe_dump(_quoted(written))
    assert parse_yaml(HERE, text.encode()).value == written


class _Quoted(str):
    """Written in double quotes, so that YAML 1.1 and 1.2 agree on it."""

    __slots__ = ()


yaml.SafeDumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def _quoted(written):
    if isinstance(written, str):
        return _Quoted(written)
    if isinstance(written, list):
        return [_quoted(one) for one in written]
    if isinstance(written, dict):
        return {_Quoted(name): _quoted(one) for name, one in written.items()}
    return written
