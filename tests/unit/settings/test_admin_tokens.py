"""``admin-tokens.yaml``: made, read, and refused where it is not safe."""

import hashlib

import pytest
import yaml

from audit_proxy.settings.admin_tokens import ROLES, create, load
from audit_proxy.settings.files import ConfigProblems


def written(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "admin-tokens.yaml"


def entry(name="ops", role="admin", sha256="a" * 64):
    return {"name": name, "role": role, "sha256": sha256}


def test_what_is_created_is_loaded_and_holds_no_token(path):
    """Each name gets a token of 256 random bits; the file has its hash alone."""
    text, tokens = create(dict(zip(("a", "b", "c"), ROLES, strict=True)))
    found = load(written(path, text))
    assert [(each.name, each.role) for each in found] == list(zip(("a", "b", "c"), ROLES, strict=True))
    for each in found:
        assert each.sha256 == hashlib.sha256(tokens[each.name].encode()).digest()
        assert tokens[each.name] not in text
        assert len(tokens[each.name]) == len("apx_") + 43
    assert len(set(tokens.values())) == 3


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o777])
def test_a_file_that_others_can_use_is_refused(path, mode):
    """Any right of group or others, reading or writing, refuses the file."""
    with pytest.raises(ConfigProblems, match="chmod 600"):
        load(written(path, create({"a": "admin"})[0], mode))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        {"tokens": []},
        {"tokens": [entry()], "more": 1},
        {"tokens": [{**entry(), "token": "secret"}]},
        {"tokens": [entry(role="root")]},
        {"tokens": [entry(role="")]},
        {"tokens": [entry(name="")]},
        {"tokens": [entry(name="a b")]},
        {"tokens": [entry(name="a\n")]},
        {"tokens": [entry(sha256="a" * 63)]},
        {"tokens": [entry(sha256="a" * 64 + "\n")]},
        {"tokens": [entry(sha256="A" * 64)]},
        {"tokens": [entry(), entry(sha256="b" * 64)]},
        {"tokens": [entry(), entry(name="b")]},
        {"tokens": [{"name": "a", "role": "admin"}]},
    ],
)
def test_what_is_not_a_list_of_distinct_tokens_is_refused(path, value):
    """No entries, unknown keys or roles, no proper hash, a name or hash twice."""
    with pytest.raises(ConfigProblems):
        load(written(path, yaml.safe_dump(value)))


def test_what_cannot_be_read_is_refused(path):
    """A missing file, a folder, no YAML."""
    with pytest.raises(ConfigProblems, match="does not exist"):
        load(path)
    with pytest.raises(ConfigProblems):
        load(written(path, "tokens: ["))
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigProblems):
        load(path)


def test_all_problems_are_told_at_once_without_values(path):
    """Two wrong entries are two problems with their lines; what stood there is not repeated."""
    text = "tokens:\n  - {name: a, role: SECRET, sha256: SECRET}\n  - {name: b, role: admin, sha256: SECRET}\n"
    with pytest.raises(ConfigProblems) as caught:
        load(written(path, text))
    assert len(caught.value.problems) == 3
    assert "SECRET" not in str(caught.value)
