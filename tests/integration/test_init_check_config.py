"""The commands that set a proxy up, run as a user runs them."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from audit_proxy.cli.app import app

OPENAPI = """
openapi: 3.0.3
info: {title: T, version: "1"}
security: [{oauth: [profile]}]
components:
  securitySchemes:
    oauth:
      type: oauth2
      flows: {implicit: {authorizationUrl: "https://a.example/", scopes: {profile: p}}}
paths:
  /me:
    get:
      operationId: getMe
      x-reviewed: {by: tests, at: 2026-11-25, of: 7b1ae9a0663782a63fc75626d46d32fb}
      responses:
        200:
          description: me
          content:
            application/json:
              schema:
                type: object
                x-data-subject: /id
                properties:
                  id: {type: string, x-data-category: user.unique_id}
"""
CSV = "id,name,owner,contact,purpose,approved_scopes\nquiz,Quiz,Q Ltd,q@example.com,marketing.advertising,profile friends\n"


def run(*arguments: str | Path, cwd: Path, code: int = 0) -> Result:
    """The command in this process, from that folder; ``test_the_program_itself`` runs the program."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, list(map(str, arguments)), env={"AUDIT_PROXY_CONFIG": None, "COLUMNS": "200"})
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, str]:
    """A folder whose config/ was made with every answer given, and what init printed."""
    base = tmp_path_factory.mktemp("made")
    (base / "openapi.yaml").write_text(OPENAPI)
    done = run(
        "init", "--upstream", "https://api.example.com", "--openapi", "openapi.yaml", "--issuer", "https://issuer.example/",
        "--audience", "api", "--jwks-url", "https://issuer.example/jwks.json", "--algorithm", "ES256", cwd=base,
    )  # fmt: skip
    return base, done.stdout


def test_init_check_and_import_are_all_it_takes(made):
    """From nothing to a configuration that is right, in the default place."""
    base, printed = made
    assert (base / "config/audit-proxy.yaml").stat().st_mode & 0o777 == 0o600
    tokens = [word for word in printed.split() if word.startswith("apx_")]
    assert len(tokens) == 3
    assert not any(
        token in path.read_text() for path in (base / "config").rglob("*.*") if path.is_file() for token in tokens
    )
    assert "FILL-IN" not in printed
    (base / "apps.csv").write_text(CSV)
    assert "1 added, 0 changed, 0 unchanged (dry run" in run("app", "import", "apps.csv", "--dry-run", cwd=base).stdout
    assert run("app", "import", "apps.csv", cwd=base).stdout == "1 added, 0 changed, 0 unchanged.\n"
    assert json.loads(run("app", "import", "apps.csv", "--json", cwd=base).stdout) == {
        "added": [], "changed": [], "unchanged": ["quiz"], "dry_run": False,
    }  # fmt: skip
    shown = run("check-config", cwd=base).stdout
    for word in (
        "https://api.example.com",
        "https://issuer.example/ (ES256)",
        "1 registered",
        "enforce",
        "configuration is right",
    ):
        assert word in shown
    understood = json.loads(run("check-config", "--json", cwd=base).stdout)
    assert understood["ok"] is True
    assert understood["understood"]["apps"] == ["1 registered", "1 active"]
    assert run("app", "list", cwd=base).stdout.split()[8:10] == ["quiz", "Quiz"]
    assert json.loads(run("app", "list", "--json", cwd=base).stdout)[0]["approved_scopes"] == ["friends", "profile"]
    assert json.loads(run("app", "show", "quiz", "--json", cwd=base).stdout)["status"] == "active"
    assert "marketing.advertising" in run("app", "show", "quiz", cwd=base).stdout
    assert "no app 'none'" in run("app", "show", "none", cwd=base, code=1).stderr


def test_init_refuses_what_is_there_and_names_it(made):
    base, _ = made
    done = run("init", cwd=base, code=2)
    assert "config/keys/log-signing.key exists" in done.stderr
    assert done.stderr.endswith("Nothing was written. Choose another folder, or move these files away.\n")
    assert done.stdout == ""


def test_a_fresh_configuration_says_what_is_to_be_filled_in(tmp_path):
    assert "Fill in what only you know (FILL-IN)" in run("init", "here", cwd=tmp_path).stdout
    done = run("check-config", "-c", "here/audit-proxy.yaml", cwd=tmp_path, code=2)
    assert "here/audit-proxy.yaml:30:8: upstream.url: still to be filled in" in done.stderr
    assert done.stderr.endswith("6 problems.\n")


def test_init_as_json_holds_the_tokens(tmp_path):
    made = json.loads(run("init", "--json", cwd=tmp_path).stdout)
    assert sorted(made["admin_tokens"]) == ["consent-service", "monitoring", "operator"]
    assert "config/keys/pseudonym.key" in made["files"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--algorithm", "none"],
        ["--algorithm", "HS256"],
        ["--jwks-url", "https://x/", "--jwks-file", "x.json"],
        ["--force"],
    ],
)
def test_wrong_use_is_said_and_nothing_is_made(tmp_path, arguments):
    run("init", *arguments, cwd=tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []


def test_problems_come_all_at_once_as_text_and_as_json(made, tmp_path):
    """Exit code 2, places included, over several files; serve does not start with them either."""
    base, _ = made
    for path in (base / "config").rglob("*"):
        if path.is_file():
            copy = tmp_path / "config" / path.relative_to(base / "config")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(0o600)
    (tmp_path / "config/policy.yaml").write_text("mode: no\nfoo: 1\n")
    (tmp_path / "config/keys/pseudonym.key").chmod(0o644)
    text = run("check-config", cwd=tmp_path, code=2).stderr
    assert "config/policy.yaml:1:7: mode: must be 'enforce' or 'monitor'" in text
    assert "config/policy.yaml:2:1: unknown key 'foo'" in text
    assert "chmod 600" in text
    assert text.endswith("3 problems.\n")
    problems = json.loads(run("check-config", "--json", cwd=tmp_path, code=2).stdout)
    assert problems["ok"] is False
    assert [one["line"] for one in problems["problems"] if one["file"] == "config/policy.yaml"] == [1, 2]
    assert "unknown key 'foo'" in run("serve", "-c", "config/audit-proxy.yaml", cwd=tmp_path, code=2).stderr


def test_the_catalog_is_compiled_and_the_policy_held_against_it(made):
    base, _ = made
    policy = base / "config/policy.yaml"
    before = policy.read_text()
    try:
        policy.write_text("operations: {getMee: {mode: monitor}}\n")
        done = run("check-config", cwd=base, code=2)
        assert (
            "policy.yaml:1:14: operations: the catalog has no operation 'getMee'; did you mean 'getMe'?" in done.stderr
        )
    finally:
        policy.write_text(before)
    try:
        (base / "openapi.yaml").write_text("openapi: 2.0.0\npaths: {}\n")
        assert "openapi.yaml" in run("check-config", cwd=base, code=2).stderr
        assert json.loads(run("check-config", "--json", cwd=base, code=2).stdout)["problems"][0]["file"] == "catalog"
    finally:
        (base / "openapi.yaml").write_text(OPENAPI)


def test_the_platform_s_problems_come_with_all_others(made):
    """A wrong policy and a wrong secret hide nothing of what is wrong with the documents, and the reverse; ``serve``
    refuses all that ``check-config`` does, in the same words.
    """
    base, _ = made
    policy, key = base / "config/policy.yaml", base / "config/keys/pseudonym.key"
    before = policy.read_text()
    try:
        policy.write_text("operations: {getMee: {mode: monitor}}\n")
        key.chmod(0o644)
        text = run("check-config", cwd=base, code=2).stderr
        assert "did you mean 'getMe'?" in text
        assert "chmod 600" in text
        assert text.endswith("2 problems.\n")
        assert run("serve", cwd=base, code=2).stderr == text
        (base / "openapi.yaml").write_text("openapi: 2.0.0\npaths: {}\n")
        text = run("check-config", cwd=base, code=2).stderr
        assert "openapi.yaml: openapi: must be 3.0.x or 3.1.x" in text
        assert "chmod 600" in text
        assert run("serve", cwd=base, code=2).stderr == text
    finally:
        policy.write_text(before)
        key.chmod(0o600)
        (base / "openapi.yaml").write_text(OPENAPI)


def test_likely_slips_in_apps_are_doubts_and_stop_nothing(made):
    base, _ = made
    apps = base / "config/apps.yaml"
    before = apps.read_text()
    entry = "- {id: %s, name: N, owner: O, contact: C, purpose: %s, approved_scopes: [%s]}\n"
    try:
        apps.write_text(
            "apps:\n"
            + entry % ("a", "marketing.advertizing", "pofile, offline_access")
            + entry % ("b", "marketing.advertising", "profile, pofile")
        )
        done = run("check-config", cwd=base)
        doubts = [
            "1 app: the purpose 'marketing.advertizing' is no data use of the taxonomy; did you mean 'marketing.advertising'?",
            "2 apps: nothing on the platform asks for the scope 'pofile'; did you mean 'profile'?",
        ]
        assert [line for line in done.stderr.splitlines() if line.startswith("apps: ")] == [
            f"apps: {d}" for d in doubts
        ]
        assert json.loads(run("check-config", "--json", cwd=base).stdout)["doubts"] == doubts
    finally:
        apps.write_text(before)


def test_a_refused_import_is_told_as_json_too(made):
    base, _ = made
    (base / "bad.csv").write_text(CSV.replace("Quiz,", ",") + "x\n")
    told = json.loads(run("app", "import", "bad.csv", "--json", cwd=base, code=2).stdout)
    assert [(one["file"], one["line"]) for one in told["problems"]] == [("bad.csv", 2), ("bad.csv", 3)]


def test_there_is_no_configuration(tmp_path):
    for command in (["check-config"], ["app", "list"], ["serve"]):
        assert (
            "config/audit-proxy.yaml: does not exist; 'audit-proxy init' makes one"
            in run(*command, cwd=tmp_path, code=2).stderr
        )


@pytest.mark.parametrize("name", ["audit-proxy", "policy", "apps"])
def test_schemas_are_printed(tmp_path, name):
    assert json.loads(run("schema", name, cwd=tmp_path).stdout)["title"] == f"{name}.yaml"


def test_the_program_itself(tmp_path):
    """As an installed command runs: exit codes and streams are the process's own."""
    program = [sys.executable, "-m", "audit_proxy"]
    made = subprocess.run([*program, "init"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    checked = subprocess.run(
        [*program, "check-config"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout) == (2, "")
    assert checked.stderr.endswith("6 problems.\n")
