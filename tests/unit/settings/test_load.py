"""The whole configuration, and everything that is wrong with it at once."""

import hashlib
import json
import re
from pathlib import Path

import jsonschema
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from audit_proxy.core.policy import Mode, OperationRule, RefusedThirdParty, Unclassified
from audit_proxy.settings.files import read_yaml
from audit_proxy.settings.initial import Answers, FilesExist, filled, make
from audit_proxy.settings.load import FILL_IN, ConfigProblems, load, load_settings_only
from audit_proxy.settings.model import Settings
from audit_proxy.settings.policy import unknown_operations
from audit_proxy.settings.schemas import FILES, json_schema, schema_text
from audit_proxy.settings.shipped import shipped

MARK = "M4RKED-SECRET"
SIGNING = "signing_key: { file: keys/log-signing.key }   "  # not the one in the heading


@pytest.fixture
def ready(tmp_path) -> Path:
    """A configuration with nothing left to fill in."""
    (tmp_path / "openapi.yaml").write_text("openapi: 3.0.3\n")
    (tmp_path / "overlay.yaml").write_text("overlay: 1.0.0\n")
    directory = tmp_path / "config"
    make(
        directory,
        Answers(
            upstream="https://api.example.com",
            openapi=tmp_path / "openapi.yaml",
            overlay=tmp_path / "overlay.yaml",
            issuer="https://issuer.example/",
            audience="api",
            jwks_url="https://issuer.example/jwks.json",
        ),
    )
    return directory / "audit-proxy.yaml"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def line(path: Path, begins: str) -> int:
    """The number of the first line that begins so."""
    return 1 + [text.startswith(begins) for text in path.read_text().splitlines()].index(True)


def problems(path: Path) -> list[str]:
    """The problems' texts; paths of the test's own folder shortened."""
    with pytest.raises(ConfigProblems) as raised:
        load(path)
    return [str(one).replace(f"{path.parent}/", "") for one in raised.value.problems]


def test_what_init_made_loads(ready):
    """With defaults, absolute paths, the policy's hash and no apps."""
    loaded = load(ready)
    settings = loaded.settings
    assert settings.upstream.url == "https://api.example.com"
    assert settings.audit.directory == ready.parent / "log"
    assert settings.audit.signing_key.file == ready.parent / "keys/log-signing.key"
    assert settings.consent.path.is_absolute()
    assert settings.platform.openapi == ready.parent.parent / "openapi.yaml"
    assert loaded.policy.mode is Mode.enforce
    assert re.fullmatch(r"[0-9a-f]{16}", loaded.policy.hash)
    assert loaded.policy.unknown_app is None
    assert loaded.apps == {}


@pytest.mark.parametrize("name", ["log-signing.key", "pseudonym.key"])
def test_a_key_that_is_missing_beside_a_log_is_to_be_put_back(ready, name):
    """Never to be made anew: the log goes on with its own keys only."""
    (ready.parent / "keys" / name).unlink()
    assert "makes one" in problems(ready)[0]
    (ready.parent / "log").mkdir()
    (ready.parent / "log/checkpoint").touch()
    assert "put back a copy" in problems(ready)[0]


def test_paths_are_relative_to_the_file_not_to_where_one_stands(ready, monkeypatch):
    monkeypatch.chdir(ready.parent.parent)
    assert load(Path("config/audit-proxy.yaml")).settings == load(ready).settings


def test_everything_wrong_in_every_file_is_told_at_once(ready):
    """Unknown keys, wrong values, missing ones, loose modes, broken keys and other files' problems in one answer."""
    change(ready, "  port: 8080", "  prot: 8080")
    change(ready, "  max_connections: 256", "  max_connections: many")
    change(ready, "  level: info ", "  level: loud ")
    change(ready, 'openapi: "', 'openapi: "/nowhere')
    (ready.parent / "keys/log-signing.key").chmod(0o644)
    (ready.parent / "keys/pseudonym.key").write_text("not a key\n")
    (ready.parent / "admin-tokens.yaml").unlink()
    (ready.parent / "policy.yaml").write_text("mode: enforced\nunclassifed: drop\n")
    (ready.parent / "apps.yaml").write_text("apps:\n  - id: quiz\n    nmae: Quiz\n")
    found = problems(ready)
    expected = [
        rf"audit-proxy\.yaml:{line(ready, '  prot:')}:3: unknown key 'prot'; did you mean 'port'\?",
        rf"audit-proxy\.yaml:{line(ready, '  max_connections: many')}:20: upstream\.max_connections: must be a whole number",
        rf"audit-proxy\.yaml:{line(ready, '  openapi:')}:12: platform\.openapi: .* is no file",
        rf"audit-proxy\.yaml:{line(ready, '  signing_key:')}:16: audit\.signing_key: .* \(mode 0644\); run: chmod 600 .*",
        rf"audit-proxy\.yaml:{line(ready, '  pseudonym_key:')}:18: audit\.pseudonym_key: .* base64 text of 32 bytes; .*",
        r"audit-proxy\.yaml:\d+:\d+: logging\.level: must be 'debug', 'info', 'warning' or 'error'",
        r"(.*: )?admin-tokens\.yaml.* does not exist.*",
        r"policy\.yaml:1:7: mode: must be 'enforce' or 'monitor'",
        r"policy\.yaml:2:1: unknown key 'unclassifed'; did you mean 'unclassified'\?",
        r"apps\.yaml:2:5: 'name' is missing in 'apps\[0\]'; add it",
        r"apps\.yaml:2:5: 'owner' is missing in 'apps\[0\]'; add it",
        r"apps\.yaml:2:5: 'contact' is missing in 'apps\[0\]'; add it",
        r"apps\.yaml:2:5: 'purpose' is missing in 'apps\[0\]'; add it",
        r"apps\.yaml:3:5: unknown key 'nmae'; did you mean 'name'\?",
    ]
    for pattern in expected:
        assert [one for one in found if re.fullmatch(pattern, one)], (pattern, found)
    assert len(found) == len(expected)


@pytest.mark.parametrize("name", ["audit-proxy.yaml", "policy.yaml", "apps.yaml"])
def test_a_file_that_anybody_can_change_is_refused(ready, name):
    """It names the commands that are run for secrets, or decides what leaves."""
    file = ready.parent / name
    file.chmod(0o646)
    (text,) = problems(ready)
    assert text.replace(str(ready.parent) + "/", "") == (
        f"{name}: can be changed by anybody on this machine; run: chmod o-w {name}"
    )
    file.chmod(0o644)
    load(ready)


def test_a_path_with_a_nul_is_a_problem_not_a_fault(ready):
    change(ready, "policy: policy.yaml", 'policy: "a\\0b"')
    assert problems(ready) == [
        f"audit-proxy.yaml:{line(ready, 'policy:')}:9: a control character is written here; remove it"
    ]


def test_what_is_still_to_be_filled_in_is_named(tmp_path):
    """A fresh configuration does not start, and says which six values only its owner knows."""
    make(tmp_path / "c", Answers())
    found = problems(tmp_path / "c/audit-proxy.yaml")
    assert len(found) == 6
    assert all("still to be filled in" in one for one in found)
    assert load_settings_only(tmp_path / "c/audit-proxy.yaml").data.port == 8080


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("  port: 8080", "  port: '8080'", "data.port: must be a whole number"),
        ("  port: 8080", "  port: 65536", "data.port: must be less than or equal to 65535"),
        ("  drain_s: 30 ", "  drain_s: 0 ", "data.drain_s: must be greater than 0"),
        ("  drain_s: 30 ", "  drain_s: yes ", "data.drain_s: must be a number"),
        ("  drain_s: 30 ", "  drain_s: .inf ", "data.drain_s: must be a number"),
        ("trusted_proxies: [] ", "trusted_proxies: [10.0.0.1/8] ", "data.trusted_proxies: each must be a network"),
        ("trusted_proxies: [] ", "trusted_proxies: 10.0.0.0/8 ", "data.trusted_proxies: must be a list"),
        ("  port: 8081", "  port: 8080", "cannot listen at the same address"),
        ('url: "https://api.example.com"', "url: https://api.example.com/v1", "without a path"),
        ('url: "https://api.example.com"', "url: https://me:pw@api.example.com", "no user name"),
        ('url: "https://api.example.com"', "url: ftp://api.example.com", "must begin with https://"),
        ('url: "https://api.example.com"', "url: https://api.example.com:99999", "Port out of range"),
        ('url: "https://api.example.com"', "url: https://api.example.com?x", "without a path"),
        ("credential: forward ", "credential: replace ", "'service_credential' goes with"),
        ("algorithms: [RS256] ", "algorithms: [none] ", "algorithms[0]: must be 'RS256'"),
        ("algorithms: [RS256] ", "algorithms: [HS256] ", "HS* algorithms go with 'hmac_secret'"),
        ("algorithms: [RS256] ", "algorithms: [] ", "at least 1 item"),
        ("algorithms: [RS256] ", "algorithms: [RS256, RS256x] ", "algorithms[1]"),
        ('jwks_url: "https://', 'jwks_url: "http://', "unsafe_jwks_over_http: true"),
        ('jwks_url: "https://issuer', 'jwks_url: "https://me:pw@issuer', "no user name"),
        ("      # jwks_file:", "      jwks_file:", "exactly one of 'jwks_file', 'jwks_url' and 'hmac_secret'"),
        ("jwks_max_age_s: 14400", "jwks_max_age_s: 300", "longer than 'jwks_refresh_s'"),
        ('audience: "api"', "audience: []", "at least one audience"),
        ('audience: "api"', "audience: ['']", "at least one audience"),
        ('audience: "api"', "audience: 5", "audience: must be text"),
        ("holder_namespace: person ", "holder_namespace: 'Person:1' ", "lower-case letters"),
        ("holder_namespace: person ", "holder_namespace: staff ", "nobody would be a holder"),
        ("scope_claim: [scope, scp]", "scope_claim: []", "at least 1 item"),
        ("# app_only_value:", "app_only_value:", "goes with 'app_only_claim'"),
        ("realm: api ", "realm: 'a\"b' ", "identity.realm"),
        ("origin: audit-proxy/node-1 ", "origin: a b ", "audit.origin"),
        (SIGNING, f"signing_key: {MARK}", "audit.signing_key: must be a group of keys"),
        (SIGNING, "signing_key: {}", "exactly one of 'file' and 'command'"),
        (SIGNING, f"signing_key: {{ value: {MARK} }}", "unknown key 'value'"),
        (SIGNING, "signing_key: { command: [no-such-program] }", "is not found"),
        ("pseudonym_key: { file: keys/pseudonym.key }", "pseudonym_key: { file: keys/log-signing.key }", "use a key of its own"),
        ("durability: fsync ", "durability: none ", "'fsync' or 'buffered'"),
        ("feed_interval_s: 0.2 ", "feed_interval_s: 0.6 ", "less than or equal to 0.5"),
        ("response_depth: 64 ", "response_depth: 201 ", "less than or equal to 200"),
        ("policy: policy.yaml", "policy: none.yaml", "none.yaml: does not exist"),
        ("policy: policy.yaml", "policy: [policy.yaml]", "policy: must be text"),
        ("data:\n", "data: 5\nx:\n", "data: must be a group of keys"),
        ("identity:\n", "identitty:\n", "did you mean 'identity'?"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_told_with_its_line(ready, old, new, what):
    """Never coerced, never defaulted over, and its value not repeated, since it may be a secret."""
    change(ready, old, new)
    found = [one for one in problems(ready) if what in one]
    assert found
    assert MARK not in "".join(problems(ready))
    assert re.match(r"(audit-proxy\.yaml:\d+:\d+|none\.yaml): ", found[0])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('jwks_url: "https://issuer.example/jwks.json"', "jwks_url: http://127.0.0.1:9/jwks.json"),
        ('jwks_url: "https://issuer.example/jwks.json"', "jwks_url: http://localhost/jwks.json"),
        ('jwks_url: "https://issuer.example/jwks.json"', "jwks_url: http://[::1]/jwks.json"),
        ('audience: "api"', "audience: [api, other]"),
        ("trusted_proxies: [] ", "trusted_proxies: [10.0.0.0/8, '2001:db8::/32'] "),
        (SIGNING, "signing_key: { command: [cat, keys/log-signing.key] }"),
        ("# require_typ:", "require_typ:"),
        ("# app_only_claim: gty ", "app_only_claim: gty "),
    ],
)
def test_right_variants_load(ready, old, new):
    change(ready, old, new)
    load(ready)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ("[{ file: keys/none.key }]", "cursors.keys[0]: "),
        ("[{ file: keys/cursor.key }, { file: keys/cursor.key }]", "cursors.keys[1]: is another key's"),
        ("[{ file: keys/pseudonym.key }]", "cursors.keys[0]: is another key's"),
        ("[{ file: keys/log-signing.key }]", "cursors.keys[0]: is another key's"),
        ("[{ file: policy.yaml }]", "does not hold base64 text of 32 bytes"),
        ("keys/cursor.key", "cursors.keys: must be a list"),
    ],
)
def test_keys_of_cursors_are_judged_like_the_others(ready, keys, what):
    """Each is there, private, of its length, and nobody else's."""
    (ready.parent / "policy.yaml").chmod(0o600)
    change(ready, "  keys:\n    - { file: keys/cursor.key }\n", f"  keys: {keys}\n")
    assert any(what in one for one in problems(ready))


def test_a_key_of_cursors_that_others_can_read_is_refused(ready):
    (ready.parent / "keys/cursor.key").chmod(0o640)
    assert any("cursors.keys[0]: " in one and "chmod 600" in one for one in problems(ready))


@pytest.mark.parametrize(
    "url", ["api.example.org", "https://api.example.org/v1", "https://u@api.example.org", "ftp://x"]
)
def test_the_public_address_is_one(ready, url):
    change(ready, "# public_url: https://api.example.org ", f"public_url: {url} ")
    assert any("data.public_url: must" in one for one in problems(ready))


def test_http_for_keys_needs_the_unsafe_word(ready):
    change(ready, 'jwks_url: "https://issuer.example', 'jwks_url: "http://issuer.example')
    change(ready, "unsafe_jwks_over_http: false ", "unsafe_jwks_over_http: true ")
    load(ready)


def test_one_issuer_stands_once(ready):
    text = ready.read_text()
    begin, end = text.index("    - issuer:"), text.index("# --- Consent of")
    ready.write_text(text[:end] + text[begin:end] + text[end:])
    assert any("each issuer stands here once" in one for one in problems(ready))


# --- key files ------------------------------------------------------------------------------------------------------------


def use_jwks(ready: Path, document: str) -> None:
    (ready.parent / "jwks.json").write_text(document)
    change(ready, '      jwks_url: "https://issuer.example/jwks.json"', "      jwks_file: jwks.json")
    change(ready, "algorithms: [RS256] ", "algorithms: [ES256] ")


def public_jwk() -> dict:
    return jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)


def test_a_key_file_is_parsed_at_check_time(ready):
    """With keys for encryption beside the good one, as identity providers export them."""
    use_jwks(ready, json.dumps({"keys": [public_jwk(), public_jwk() | {"use": "enc"}, {"kty": "weird"}]}))
    load(ready)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (lambda: "", "not valid JSON"), (lambda: '{"keys":[]}', "the set is empty"),
        (lambda: json.dumps({"keys": [public_jwk() | {"use": "enc"}]}), "no usable key: keys[0]: its 'use' is not 'sig'"),
        (lambda: json.dumps({"keys": [public_jwk(), public_jwk() | {"d": "AA"}]}), "keys[1]: holds a private key"),
        (lambda: json.dumps({"keys": [public_jwk() | {"x": "AA"}]}), "bad 'x' or 'y'"),
        (lambda: json.dumps({"keys": [public_jwk() | {"y": public_jwk()["y"]}]}), "numbers that are no key"),
        (lambda: json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]}), "symmetric"),
    ],
)  # fmt: skip
def test_an_unusable_key_file_is_told_with_the_reason(ready, document, what):
    use_jwks(ready, document())
    (problem,) = problems(ready)
    assert problem.startswith(f"audit-proxy.yaml:{line(ready, '      jwks_file:')}:")
    assert what in problem


def test_a_key_file_without_an_end_is_not_read_to_it(ready):
    """A device that goes on for ever must not take the memory of the machine."""
    change(ready, 'jwks_url: "https://issuer.example/jwks.json"', "jwks_file: /dev/zero")
    (text,) = problems(ready)
    assert text.endswith("jwks_file: /dev/zero: longer than 524288 bytes")


def test_a_missing_key_file_is_told(ready):
    use_jwks(ready, "")
    (ready.parent / "jwks.json").unlink()
    assert "cannot be read" in problems(ready)[0]


@pytest.mark.parametrize(
    ("secret", "mode", "what"),
    [
        (b"s" * 32, 0o600, None), (MARK.encode(), 0o600, "at least 32"), (b"s" * 32, 0o640, "chmod 600"), (b"", 0o600, "empty"),
        (b"-----BEGIN PUBLIC KEY-----" + b"A" * 99, 0o600, "must never be a secret"),
    ],
)  # fmt: skip
def test_a_shared_secret_is_looked_at(ready, secret, mode, what):
    """Its mode and its length, without ever being told."""
    path = ready.parent / "issuer.secret"
    path.write_bytes(secret)
    path.chmod(mode)
    change(ready, '      jwks_url: "https://issuer.example/jwks.json"', "      hmac_secret: { file: issuer.secret }")
    change(ready, "algorithms: [RS256] ", "algorithms: [HS256] ")
    if what is None:
        load(ready)
    else:
        (problem,) = problems(ready)
        assert what in problem
        assert MARK not in problem


# --- policy ---------------------------------------------------------------------------------------------------------------


def with_policy(ready: Path, text: str):
    (ready.parent / "policy.yaml").write_text(text)
    return load(ready).policy


def test_every_choice_reaches_the_policy(ready):
    policy = with_policy(
        ready,
        "mode: monitor\nrefused_third_party: minimal\nunclassified: pass\n"
        "unsafe_holder_passes_without_consent_store: true\n"
        "unknown_apps: {admit: true, approved_scopes: [profile], purpose: functional, tier: guest, mode: enforce}\n"
        "operations:\n  listFriends: {mode: enforce, refused_third_party: drop}\n"
        "  export: {unclassified: drop, response_body_bytes: 5000}\n",
    )
    assert (policy.mode, policy.refused_third_party, policy.unclassified) == (
        Mode.monitor, RefusedThirdParty.minimal, Unclassified.unsafe_pass,
    )  # fmt: skip
    assert policy.unsafe_holder_passes_without_consent_store
    assert policy.operations == {
        "listFriends": OperationRule(mode=Mode.enforce, refused_third_party=RefusedThirdParty.drop),
        "export": OperationRule(unclassified=Unclassified.drop, response_limit=5000),
    }
    profile = policy.profile("stranger")
    assert profile is not None
    assert (profile.id, profile.label, profile.tier, profile.purpose) == ("stranger", "other", "guest", "functional")
    assert (profile.approved_scopes, profile.mode) == ({"profile"}, Mode.enforce)


def test_an_empty_policy_is_the_strictest(ready):
    """enforce, drop, drop, unknown apps refused."""
    policy = with_policy(ready, "")
    shown = load(ready)
    assert (policy.mode, policy.refused_third_party, policy.unclassified) == (
        Mode.enforce, RefusedThirdParty.drop, Unclassified.drop,
    )  # fmt: skip
    assert policy.profile("stranger") is None
    assert not policy.unsafe_holder_passes_without_consent_store
    assert shown.policy.operations == {}


def test_an_unknown_app_that_is_let_in_may_do_nothing_unless_said(ready):
    profile = with_policy(ready, "unknown_apps: {admit: true}\n").profile("stranger")
    assert profile is not None
    assert (profile.approved_scopes, profile.purpose) == (frozenset(), "")


def test_operation_beats_app_beats_global(ready):
    policy = with_policy(ready, "mode: enforce\noperations: {a: {mode: monitor}, b: {refused_third_party: drop}}\n")
    (ready.parent / "apps.yaml").write_text(
        "apps:\n  - {id: x, name: X, owner: X, contact: x, purpose: functional, mode: monitor}\n"
        "  - {id: y, name: Y, owner: Y, contact: y, purpose: functional}\n"
    )
    x, y = load(ready).apps["x"], load(ready).apps["y"]
    modes = [policy.mode_for(app, operation) for app in (x, y, None) for operation in ("a", "b", "c", None)]
    monitor, enforce = Mode.monitor, Mode.enforce
    assert modes == [monitor] * 4 + [monitor, enforce, enforce, enforce] * 2


def test_the_hash_is_of_the_very_bytes(ready):
    """A comment more is another hash: what stood there can be found again."""
    first = with_policy(ready, "mode: enforce\n").hash
    assert with_policy(ready, "mode: enforce\n").hash == first
    assert with_policy(ready, "mode: enforce # why\n").hash != first
    assert first == hashlib.sha256(b"mode: enforce\n").hexdigest()[:16]


@pytest.mark.parametrize(
    "text",
    ["mode: off\n", "mode: no\n", "unclassified: unsafe_pass\n", "unknown_apps: true\n", "unknown_apps: {admit: yes}\n", "operations: []\n",
     "operations: {a: monitor}\n", "operations: {a: {mod: monitor}}\n", "operations: {a: {response_body_bytes: 0}}\n",
     "operations: {a: {}, a: {}}\n", "- mode\n", "mode\n"],
)  # fmt: skip
def test_a_wrong_policy_is_refused(ready, text):
    (ready.parent / "policy.yaml").write_text(text)
    assert all(one.startswith("policy.yaml:") for one in problems(ready))


def test_a_rule_for_an_operation_that_does_not_exist_is_told(ready):
    """It would never apply, and its author believes it does."""
    path = ready.parent / "policy.yaml"
    path.write_text("operations:\n  listFriends: {}\n  listFreinds: {}\n")
    (problem,) = unknown_operations(read_yaml(path), {"listFriends", "getPerson"})
    assert (problem.line, problem.column) == (3, 3)
    assert "did you mean 'listFriends'?" in problem.text


# --- what is shipped ------------------------------------------------------------------------------------------------------


def without_fill_in(value):
    if isinstance(value, dict):
        return {
            name: without_fill_in(one) for name, one in value.items() if not (isinstance(one, str) and FILL_IN in one)
        }
    return [without_fill_in(one) for one in value] if isinstance(value, list) else value


def test_the_shipped_configuration_shows_the_defaults():
    """Every value in it, where it is not to be filled in, is what the program does without it."""
    text = (shipped() / "audit-proxy.yaml").read_text()
    full = {
        "upstream": {"url": "https://x"}, "platform": {"openapi": "x"},
        "audit": {"signing_key": {"file": "keys/log-signing.key"}, "pseudonym_key": {"file": "keys/pseudonym.key"}},
        "cursors": {"keys": [{"file": "keys/cursor.key"}]},
        "identity": {"issuers": [{"issuer": "x", "audience": "x", "algorithms": ["RS256"], "jwks_url": "https://x"}]},
    }  # fmt: skip
    defaults = json.loads(Settings.model_validate(full).model_dump_json())

    def compare(shown, default, where):
        if isinstance(shown, dict):
            for name, value in shown.items():
                compare(value, default[name], f"{where}.{name}")
        elif isinstance(shown, list) and shown and isinstance(shown[0], dict):
            compare(shown[0], default[0], f"{where}[0]")
        else:
            assert shown == default, where

    compare(without_fill_in(yaml.safe_load(text)), defaults, "")


def test_the_shipped_configuration_names_every_setting():
    """As a key, or as a comment that says what it is for."""
    for file, model in FILES.items():
        text = (shipped() / f"{file}.yaml").read_text()
        for name in _names(model.model_json_schema()):
            assert re.search(rf"(^|[\s#{{-]){name}:", text, re.MULTILINE), f"{file}.yaml does not show {name}"


def _names(schema: dict) -> set[str]:
    names: set[str] = set(schema.get("properties", {}))
    for inner in schema.get("$defs", {}).values():
        names |= set(inner.get("properties", {}))
    return names


def uncommented(text: str, begins: str) -> str:
    """The commented block of the shipped configuration that begins so, with its comment marks taken away."""
    lines = text.splitlines(keepends=True)
    first = next(number for number, one in enumerate(lines) if one.strip() == f"# {begins}")
    last = next(number for number in range(first, len(lines)) if not lines[number].startswith("  #"))
    return (
        "".join(lines[:first])
        + "".join(one.replace("  # ", "  ", 1) for one in lines[first:last])
        + "".join(lines[last:])
    )


@pytest.fixture
def with_introspection(ready) -> Path:
    """The configuration with its example of introspection put in force."""
    ready.write_text(uncommented(ready.read_text(), "introspection:"))
    for name in ("introspection", "graph"):
        (ready.parent / f"keys/{name}.secret").write_text("S3CRET")
        (ready.parent / f"keys/{name}.secret").chmod(0o600)
    return ready


def test_the_shipped_example_of_introspection_is_one(with_introspection):
    """RFC 7662 needs an address and credentials; all else is as it says."""
    standard, own = load(with_introspection).settings.identity.introspection
    (request,) = standard.requests
    assert request.method == "POST"
    assert request.headers == {"Authorization": "Basic {basic}"}
    assert request.body_form == {"token": "{token}", "token_type_hint": "access_token"}
    assert request.answer.app == "/client_id"
    assert standard.cache_s == 30
    (request,) = own.requests
    assert (request.method, request.body_form, request.answer.app) == ("GET", None, "/data/app_id")
    assert request.answer.issuer is None


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("token_prefix: EAA", 'token_prefix: ""', "the same 'token_prefix'"),
        ('token_prefix: "" ', "token_prefix: EA ", "begins another's"),
        ("https://auth.example/introspect", "http://auth.example/introspect", "unsafe_over_http: true"),
        ("https://auth.example/introspect", "https://auth.example/{token}", "no places"),
        ("https://auth.example/introspect", "https://me:pw@auth.example/", "no user name"),
        ('input_token: "{token}"', 'input_token: "x"', "{token} stands nowhere"),
        ('input_token: "{token}"', 'input_token: "{token}{toke}"', "no place is called {toke}"),
        ("headers: {} ", 'headers: { "X: Y": a } ', "a name that is none"),
        ("headers: {} ", "headers: { Host: a } ", "not yours to set"),
        ("headers: {} ", "form: { a: b } ", "a GET has no body"),
        ("app: /data/app_id", "app: data/app_id", "begins with '/'"),
        ("  app: /data/app_id", "  # app:", "names the app"),
        ("inactive_status: [400, 401]", "inactive_status: [4000]", "less than or equal to 599"),
        ("client_id: audit-proxy", "# client_id:", "give 'client_id'"),
        ("client_secret: { file: keys/introspection.secret }", "# client_secret:", "give 'client_secret'"),
        ("keys/graph.secret", "keys/no.secret", "does not exist"),
        ("# audience: api ", "audience: [] ", "at least one audience"),
        ("cache_s: 30 ", "cache_s: 0 ", "greater than 0"),
    ],
)  # fmt: skip
def test_introspection_that_cannot_work_is_told(with_introspection, old, new, what):
    change(with_introspection, old, new)
    found = problems(with_introspection)
    assert any(what in one for one in found), found
    assert not any("S3CRET" in one for one in found)


def test_opaque_tokens_alone_suffice(with_introspection):
    """Nobody at all does not."""
    text = with_introspection.read_text()
    first, rest = text.index("  issuers:\n"), text.index("  introspection:\n")
    with_introspection.write_text(text[:first] + text[rest:])
    assert load(with_introspection).settings.identity.issuers == []
    end = text.index("# --- Consent of")
    with_introspection.write_text(text[:first] + "  issuers: []\n\n" + text[end:])
    assert any("nobody could speak" in one for one in problems(with_introspection))


@pytest.fixture
def with_subject_ids(ready) -> Path:
    """The configuration with its example of app-scoped ids put in force."""
    ready.write_text(uncommented(ready.read_text(), "subject_ids:"))
    (ready.parent / "subject-ids.csv").write_text("app,id,subject\n")
    return ready


def test_the_shipped_example_of_subject_ids_is_one(with_subject_ids):
    settings = load(with_subject_ids).settings
    assert settings.platform.subject_ids is not None
    assert settings.platform.subject_ids.table == with_subject_ids.parent / "subject-ids.csv"
    change(with_subject_ids, "holder_app_scoped: false              #", "holder_app_scoped: true #")
    assert load(with_subject_ids).settings.identity.issuers[0].holder_app_scoped


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("table: subject-ids.csv ", "table: no.csv ", "is no file"),
        ("    # url: https://ids", "    url: https://ids", "exactly one of 'table' and 'url'"),
        ("    table: subject-ids.csv ", "    # table: ", "exactly one of 'table' and 'url'"),
        ("    table: subject-ids.csv ", "    url: http://ids.example/ # ", "unsafe_over_http: true"),
        ("    # secret: { file: keys/subject", "    secret: { file: keys/subject", "'secret' goes with 'url'"),
        ("    cache_s: 60 ", "    cache_s: 0 ", "greater than 0"),
        ("holder_namespace: person  ", "holder_app_scoped: true\n      holder_namespace: staff  ", "is 'platform.subject_namespace'"),
    ],
)  # fmt: skip
def test_subject_ids_that_cannot_work_are_told(with_subject_ids, old, new, what):
    change(with_subject_ids, old, new)
    if "staff" in new:
        change(with_subject_ids, "      holder_app_scoped: false ", "      # ")
    found = problems(with_subject_ids)
    assert any(what in one for one in found), found


def test_app_scoped_holders_need_something_that_says_whom_they_mean(ready):
    change(ready, "      holder_app_scoped: false ", "      holder_app_scoped: true ")
    assert any("needs 'platform.subject_ids'" in one for one in problems(ready))


@pytest.mark.parametrize("name", list(FILES))
def test_shipped_schemas_are_those_of_the_models_and_fit_the_shipped_files(name):
    """Made with: audit-proxy schema NAME > config/schema/NAME.json"""
    assert (shipped() / "schema" / f"{name}.json").read_text() == schema_text(name)
    jsonschema.Draft202012Validator.check_schema(json_schema(name))
    jsonschema.validate(yaml.safe_load((shipped() / f"{name}.yaml").read_text()), json_schema(name))


def test_the_shipped_policy_changes_nothing(ready):
    """It says in words what the defaults are."""
    shown = load(ready).policy
    assert (shown.mode, shown.refused_third_party, shown.unclassified) == (
        Mode.enforce, RefusedThirdParty.drop, Unclassified.drop,
    )  # fmt: skip
    assert shown.operations == {}


# --- init -----------------------------------------------------------------------------------------------------------------


def test_init_overwrites_nothing_and_leaves_nothing_behind(tmp_path):
    """Not even when a single one of its files is there, or a link to nowhere."""
    made = make(tmp_path, Answers())
    contents = {file: file.read_bytes() for file in made.files}
    with pytest.raises(FilesExist) as raised:
        make(tmp_path, Answers())
    assert raised.value.files == list(made.files)
    assert {file: file.read_bytes() for file in made.files} == contents
    other = tmp_path / "other"
    (other / "keys").mkdir(parents=True)
    (other / "keys/pseudonym.key").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FilesExist, match=r"pseudonym\.key"):
        make(other, Answers())
    assert [path.name for path in other.rglob("*")] == ["keys", "pseudonym.key"]
    assert not (tmp_path / "nowhere").exists()


def test_what_init_makes_is_for_its_owner_alone_and_new_each_time(tmp_path):
    one, two = make(tmp_path / "1", Answers()), make(tmp_path / "2", Answers())
    for file in one.files:
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "1/keys").stat().st_mode & 0o777 == 0o700
    keys = [
        (tmp_path / place / "keys" / name).read_text()
        for place in "12"
        for name in ("log-signing.key", "pseudonym.key")
    ]
    assert len(set(keys)) == 4
    assert set(one.tokens.values()).isdisjoint(two.tokens.values())
    everything = b"".join(file.read_bytes() for file in one.files)
    assert not any(token.encode() in everything for token in one.tokens.values())
    assert not any(token in repr(one) for token in one.tokens.values())


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    """A folder stands where a file should: the files made before it are taken away again."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(OSError, match="keys"):
        make(tmp_path, Answers())
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


@pytest.mark.parametrize("value", ["a: b", "x # y", "'", '"', "{{", "yes", "5", "ä\\n", "https://i.example/?a=b&c=#d"])
def test_answers_are_texts_whatever_they_hold(tmp_path, value):
    """Nothing typed at the command line becomes YAML."""
    text = filled((shipped() / "audit-proxy.yaml").read_text(), Answers(issuer=value, audience=value), tmp_path)
    issuer = yaml.safe_load(text)["identity"]["issuers"][0]
    assert (issuer["issuer"], issuer["audience"]) == (value, value)


def test_files_below_the_configuration_are_named_relative_to_it(tmp_path):
    answers = Answers(
        openapi=tmp_path / "c/api/openapi.yaml", jwks_file=tmp_path / "keys.json", algorithms=("ES256", "EdDSA")
    )
    parsed = yaml.safe_load(filled((shipped() / "audit-proxy.yaml").read_text(), answers, tmp_path / "c"))
    assert parsed["platform"] == {"openapi": "api/openapi.yaml", "subject_namespace": "person"}
    issuer = parsed["identity"]["issuers"][0]
    assert issuer["jwks_file"] == str(tmp_path / "keys.json")
    assert "jwks_url" not in issuer
    assert issuer["algorithms"] == ["ES256", "EdDSA"]


def test_the_first_apps_of_the_file_have_a_label_of_their_own(ready):
    """So many as ``metrics.max_app_labels`` says; the others share ``other``, the same ones on every node."""
    entry = {"name": "n", "owner": "o", "contact": "c", "purpose": "functional.service"}
    (ready.parent / "apps.yaml").write_text(yaml.safe_dump({"apps": [{"id": one, **entry} for one in "cabd"]}))
    assert {app.label for app in load(ready).apps.values()} == {"a", "b", "c", "d"}
    change(ready, "max_app_labels: 200", "max_app_labels: 2")
    assert {one: app.label for one, app in load(ready).apps.items()} == {"c": "c", "a": "a", "b": "other", "d": "other"}
