"""``apps.yaml`` and importing into it."""

import dataclasses
import fcntl
import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audit_proxy.core.policy import App, AppStatus, Mode
from audit_proxy.settings.apps import AppEntry, parse_apps
from audit_proxy.settings.apps_import import apps_text, import_apps
from audit_proxy.settings.files import ConfigProblems, parse_yaml

QUIZ = {
    "id": "quiz",
    "name": "Quiz",
    "owner": "Quiz Ltd",
    "contact": "privacy@quiz.example",
    "purpose": "marketing.advertising",
}


def apps(*entries: dict) -> list[AppEntry]:
    return parse_apps(parse_yaml(Path("apps.yaml"), json.dumps({"apps": entries}).encode())).apps


def problem(text: str) -> str:
    with pytest.raises(ConfigProblems) as raised:
        parse_apps(parse_yaml(Path("apps.yaml"), text.encode()))
    return str(raised.value)


def test_an_app_with_nothing_said_has_nothing_approved():
    (entry,) = apps(QUIZ)
    assert entry.app() == App(
        "quiz", "Quiz", "Quiz Ltd", "privacy@quiz.example", "standard", "marketing.advertising", frozenset(), None,
        AppStatus.active, "quiz",
    )  # fmt: skip


def test_everything_said_is_kept():
    (entry,) = apps(
        QUIZ | {"approved_scopes": ["a", "b:c"], "mode": "monitor", "status": "suspended", "tier": "trusted"}
    )
    app = entry.app()
    assert (app.approved_scopes, app.mode, app.status, app.tier) == (
        {"a", "b:c"},
        Mode.monitor,
        AppStatus.suspended,
        "trusted",
    )


@pytest.mark.parametrize("document", ["", "apps: []", "# none\n"])
def test_there_may_be_no_apps(document):
    assert parse_apps(parse_yaml(Path("apps.yaml"), document.encode())).apps == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", ""), ("id", "other"), ("id", " quiz"), ("id", "quiz\n"), ("id", "ä"), ("id", "x" * 257), ("id", 5), ("id", None),
        ("purpose", ""), ("purpose", "Marketing"), ("purpose", "marketing."), ("purpose", ".a"), ("purpose", "a b"),
        ("purpose", "marketing..x"), ("tier", "Gold!"), ("tier", ""), ("name", " "), ("name", "a\tb"), ("owner", ""), ("contact", ""),
        ("approved_scopes", "a b"), ("approved_scopes", ["a b"]), ("approved_scopes", [""]), ("approved_scopes", [5]),
        ("approved_scopes", ['a"']), ("approved_scopes", None), ("mode", "Monitor"), ("mode", True), ("status", "paused"),
        ("status", None), ("scopes", []), ("approved_scope", []),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_key(name, value):
    """Nothing is coerced, nothing unknown is passed over."""
    with pytest.raises(ConfigProblems) as raised:
        apps(QUIZ | {name: value})
    assert name in str(raised.value)


def test_an_id_that_stands_twice_is_told_at_its_second_place():
    entry = "\n    ".join(f"{name}: {value}" for name, value in QUIZ.items())
    text = problem(f"apps:\n  - {entry}\n  - {entry}\n")
    assert text == "apps.yaml:7:9: this app's id stands in the file a second time; remove one"


def test_an_unquoted_number_as_id_is_told_to_be_quoted():
    assert "apps.yaml:2:9: apps[0].id: must be text; put it in quotes" in problem("apps:\n  - id: 12345\n")


# --- importing ------------------------------------------------------------------------------------------------------------

HEADING = "# The apps of our platform.\n#\n\n# Ask the platform team.\n"
CSV_HEAD = "id,name,owner,contact,purpose,approved_scopes"


@pytest.fixture
def apps_file(tmp_path) -> Path:
    path = tmp_path / "apps.yaml"
    path.write_text(HEADING + "apps: []\n")
    return path


@pytest.fixture
def source(tmp_path):
    def make(text: str, name: str = "new.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


def stored(path: Path) -> dict[str, AppEntry]:
    return {entry.id: entry for entry in parse_apps(parse_yaml(path, path.read_bytes())).apps}


def ndjson(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_an_import_adds_changes_and_leaves(apps_file, source):
    """What it does not name stays; the heading stays; a second time changes not a byte."""
    first = source(f"{CSV_HEAD}\nquiz,Quiz,Q,q@e.example,marketing,b a\nmaps,Maps,M,m@e.example,functional,\n")
    assert dataclasses.astuple(import_apps(apps_file, first)) == (("quiz", "maps"), (), (), False)
    second = source(ndjson({"id": "quiz", "name": "Quizzes"}, QUIZ | {"id": "news"}), "new.ndjson")
    assert dataclasses.astuple(import_apps(apps_file, second)) == (("news",), ("quiz",), (), False)
    found = stored(apps_file)
    assert list(found) == ["quiz", "maps", "news"]
    assert (found["quiz"].name, found["quiz"].owner, found["quiz"].approved_scopes) == ("Quizzes", "Q", ["a", "b"])
    before = apps_file.read_bytes()
    assert before.startswith(HEADING.encode())
    inode = apps_file.stat().st_ino
    assert import_apps(apps_file, second).unchanged == ("quiz", "news")
    assert apps_file.read_bytes() == before
    assert apps_file.stat().st_ino == inode


def test_an_absent_column_keeps_what_stands_and_a_present_one_is_the_value(apps_file, source):
    """An export without status cannot un-suspend an app; one with empty scopes takes them away."""
    import_apps(
        apps_file,
        source(ndjson(QUIZ | {"status": "suspended", "mode": "monitor", "approved_scopes": ["a"]}), "a.ndjson"),
    )
    import_apps(apps_file, source("id,name\nquiz,New\n"))
    entry = stored(apps_file)["quiz"]
    assert (entry.name, entry.status, entry.mode, entry.approved_scopes) == (
        "New",
        AppStatus.suspended,
        Mode.monitor,
        ["a"],
    )
    import_apps(apps_file, source("id,approved_scopes,mode\nquiz,,\n"))
    entry = stored(apps_file)["quiz"]
    assert (entry.status, entry.mode, entry.approved_scopes) == (AppStatus.suspended, None, [])
    with pytest.raises(ConfigProblems, match="status"):
        import_apps(apps_file, source("id,status\nquiz,\n"))


def test_everything_wrong_is_told_at_once_and_nothing_is_written(apps_file, source):
    """Every bad line of the import with its number, and not even the good ones are taken."""
    before = apps_file.read_bytes()
    bad = source(
        f"{CSV_HEAD}\ngood,G,G,g@e.example,functional,\n,N,O,c,functional,\nbad,N,O,c,Not A Purpose,\ngood,G,G,g@e.example,functional,\n"
        "short,N\nnew,N,O,c,functional,sc\\ope\n"
    )
    with pytest.raises(ConfigProblems) as raised:
        import_apps(apps_file, bad)
    assert [one.line for one in raised.value.problems] == [3, 4, 5, 6, 7]
    assert apps_file.read_bytes() == before
    assert sorted(path.name for path in apps_file.parent.iterdir()) == ["apps.yaml", "new.csv"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no column 'id'"), ("name\nx\n", "no column 'id'"), ("id,nmae\nx,y\n", "did you mean 'name'"), ("id,id\nx,y\n", "twice"),
        ('id,name\n"x,y\n', "not valid CSV"), ("id,name\nx,y,z\n", "3 cells"), ("id,name\nquiz,Quiz\n", "owner: is missing"),
    ],
)  # fmt: skip
def test_a_csv_that_is_none_is_refused(apps_file, source, text, what):
    with pytest.raises(ConfigProblems, match=what):
        import_apps(apps_file, source(text))


@pytest.mark.parametrize(
    "line",
    ["[]", "5", "{", '{"id":"a","id":"b"}', '{"id":5}', "{}", '{"id":null}', '{"id":"quiz","extra":1}', '{"id":NaN}'],
)
def test_an_ndjson_line_that_is_no_app_is_refused_with_its_number(apps_file, source, line):
    with pytest.raises(ConfigProblems) as raised:
        import_apps(apps_file, source(ndjson(QUIZ) + line + "\n", "x.ndjson"))
    assert {one.line for one in raised.value.problems} == {2}


def test_the_form_is_by_ending_or_by_word(apps_file, source):
    text = ndjson(QUIZ)
    with pytest.raises(ConfigProblems, match="--format"):
        import_apps(apps_file, source(text, "x.txt"))
    assert import_apps(apps_file, source(text, "x.txt"), "ndjson").added == ("quiz",)


def test_a_spreadsheet_s_export_is_read(apps_file, source):
    """Byte order mark, CRLF, quoted cells with commas and doubled quotes."""
    text = f'\ufeff{CSV_HEAD}\r\nquiz,"Quiz, ""the"" game",Q,q@e.example,marketing,"a b"\r\n'
    assert import_apps(apps_file, source(text)).added == ("quiz",)
    assert stored(apps_file)["quiz"].name == 'Quiz, "the" game'


def test_a_dry_run_says_and_does_nothing(apps_file, source):
    before = apps_file.read_bytes()
    assert import_apps(apps_file, source(ndjson(QUIZ), "x.ndjson"), dry_run=True).added == ("quiz",)
    assert apps_file.read_bytes() == before


def test_mode_and_link_of_the_file_stay(apps_file, source, tmp_path):
    apps_file.chmod(0o640)
    (tmp_path / "link.yaml").symlink_to(apps_file)
    import_apps(tmp_path / "link.yaml", source(ndjson(QUIZ), "x.ndjson"))
    assert (tmp_path / "link.yaml").is_symlink()
    assert apps_file.stat().st_mode & 0o777 == 0o640
    assert "quiz" in stored(apps_file)


def test_comments_between_apps_are_lost_and_that_is_said(apps_file, source):
    apps_file.write_text(HEADING + "apps:\n  # between\n" + apps_text({"quiz": AppEntry(**QUIZ)}).split("\n", 1)[1])
    assert not import_apps(apps_file, source(ndjson(QUIZ), "x.ndjson")).comments_lost
    assert import_apps(apps_file, source(ndjson(QUIZ | {"name": "New"}), "y.ndjson")).comments_lost
    assert "between" not in apps_file.read_text()


def test_a_second_import_at_the_same_time_is_told_so(apps_file, source):
    """Neither overwrites what the other did."""
    folder = os.open(apps_file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)  # even a weaker lock than an import's own keeps it out
        with pytest.raises(ConfigProblems, match="another import"):
            import_apps(apps_file, source(ndjson(QUIZ), "x.ndjson"))
    finally:
        os.close(folder)
    assert import_apps(apps_file, source(ndjson(QUIZ), "x.ndjson")).added == ("quiz",)


def test_a_broken_apps_file_stops_the_import(apps_file, source):
    apps_file.write_text("apps:\n  - id: x\n")
    with pytest.raises(ConfigProblems, match=r"apps\.yaml:2:"):
        import_apps(apps_file, source(ndjson(QUIZ), "x.ndjson"))


def test_five_thousand_apps_are_imported_once(apps_file, source):
    rows = [QUIZ | {"id": f"app-{number}", "approved_scopes": ["profile", "friends"]} for number in range(5_000)]
    many = source(ndjson(*rows), "many.ndjson")
    assert len(import_apps(apps_file, many).added) == 5_000
    assert len(import_apps(apps_file, many).unchanged) == 5_000
    assert len(stored(apps_file)) == 5_000


SHOWN = st.text(alphabet="aZ1 :#-'\"yesno~\\{}[]&*!|>%@`,?é😀", min_size=1, max_size=8).filter(
    lambda text: text.strip()
)
IDS = st.text(alphabet="aZ019 :#-'\"\\~{[&*!|>%@`,?.", min_size=1, max_size=8).filter(lambda text: text == text.strip())


@given(st.lists(st.tuples(IDS, SHOWN, SHOWN), max_size=5, unique_by=lambda one: one[0]))
def test_what_is_written_is_read_back_by_us_and_by_yaml_1_1(rows):
    """Whatever characters a name holds."""
    entries = {
        one: AppEntry(id=one, name=name, owner=owner, contact="x", purpose="functional") for one, name, owner in rows
    }
    text = apps_text(entries)
    assert parse_apps(parse_yaml(Path("x"), text.encode())).apps == list(entries.values())
    assert [one["name"] for one in yaml.safe_load(text)["apps"]] == [name for _, name, _ in rows]
