"""``audit-proxy demo`` from outside: what it measures, what it keeps, and that it would notice a leak."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from audit_proxy.demo import folder as demo_folder
from audit_proxy.demo.run import Options, run
from audit_proxy.settings import initial
from audit_proxy.settings.shipped import shipped

PEOPLE = 300


def command(*words, **more):
    """An ``audit-proxy`` command as a user runs it, away from a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "audit_proxy", *words], capture_output=True, text=True, timeout=120, check=False, **more
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A demo that was run with ``--dir`` and ``--json``: its folder and what it printed."""
    place = tmp_path_factory.mktemp("demo") / "kept"
    done = command("demo", "--json", "--people", str(PEOPLE), "--seed", "4", "--dir", str(place))
    assert done.returncode == 0, done.stderr
    return place, done


@pytest.fixture(scope="module")
def facts(kept):
    return json.loads(kept[1].stdout.splitlines()[-1])


def test_standard_output_is_one_json_object(kept, facts):
    """With ``--json``, standard output holds the object and nothing else; the rest goes to standard error."""
    assert kept[1].stdout.count("\n") == 1
    assert facts.keys() >= {
        "people",
        "installers",
        "requests",
        "subjects_without_proxy",
        "subjects_with_proxy",
        "unconsented_disclosed",
        "records",
        "log_verified",
        "records_match_received",
    }
    assert "What the quiz received" in kept[1].stderr


def test_the_promises_held(facts):
    """2% installed the quiz and took many times as many people; through the proxy nobody's data left unpermitted, every
    disclosure is on record, and the log verifies.
    """
    assert (facts["people"], facts["installers"]) == (PEOPLE, 6)
    assert facts["subjects_without_proxy"] > 5 * facts["installers"]
    assert 0 < facts["subjects_with_proxy"] < facts["subjects_without_proxy"] / 2
    assert facts["unconsented_without_proxy"] > 0
    assert facts["unconsented_disclosed"] == 0
    assert facts["log_verified"] is True
    assert facts["records_match_received"] is True


def journal(place):
    return b"".join(path.read_bytes() for path in sorted((place / "log" / "journal").glob("*.jsonl")))


def test_every_request_and_the_import_are_records(kept, facts):
    """The log holds a record for each request, and those of the import of consents."""
    kinds = [json.loads(line)["kind"] for line in journal(kept[0]).splitlines()]
    assert len(kinds) == facts["records"]
    assert kinds.count("access") + kinds.count("denial") == facts["requests"]
    assert set(kinds) <= {"access", "denial", "admin", "consent"}


def test_the_log_names_nobody(kept):
    """No id, name, address or token of anyone stands under the log's directory."""
    place = kept[0]
    text = b"".join(path.read_bytes() for path in sorted((place / "log").rglob("*")) if path.is_file())
    assert b"example.org" not in text
    assert b"person:" not in text
    assert not re.search(rb'"1000\d\d"|"100[0-2]\d\d"', text)
    assert not re.search(rb"eyJ[\w-]{10,}\.", text)
    for key in sorted((place / "keys").glob("*.token")):
        assert key.read_bytes().strip() not in text


def test_keys_are_for_their_owner_alone(kept):
    """Private keys, tokens and the consent store can be read by nobody else."""
    place = kept[0]
    private = [path for path in (place / "keys").iterdir() if not path.name.endswith(".jwks.json")]
    private += [place / "admin-tokens.yaml", place / "audit-proxy.yaml", *(place / "state").glob("*.sqlite3*")]
    assert len(private) > 6
    for path in private:
        shut = path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
        assert shut, path


def test_what_was_kept_serves_further_commands(kept):
    """The configuration is complete, the log verifies again; one byte changed, and it does not."""
    place = kept[0]
    config = str(place / "audit-proxy.yaml")
    assert command("check-config", "-c", config).returncode == 0
    assert command("log", "verify", "-c", config).returncode == 0
    altered = place.with_name("altered")
    shutil.copytree(place, altered)
    segment = next((altered / "log" / "journal").glob("*.jsonl"))
    data = bytearray(segment.read_bytes())
    at = data.index(b'"no_grant"')
    data[at + 1 : at + 9] = b"at_grant"
    segment.chmod(0o600)
    segment.write_bytes(data)
    done = command("log", "verify", "-c", str(altered / "audit-proxy.yaml"))
    assert done.returncode == 1, done.stdout


def test_nothing_kept_is_overwritten(kept):
    """A second demo in the same folder is refused, and changes nothing."""
    place = kept[0]
    before = journal(place)
    done = command("demo", "--people", "50", "--dir", str(place))
    assert done.returncode == 2
    assert "exists" in done.stderr
    assert journal(place) == before


def test_what_is_printed_fits_and_nothing_stays_behind(tmp_path):
    """Without ``--dir`` the demo cleans up after itself; what it prints away from a terminal is at most 100 wide and has
    no control codes.
    """
    done = command("demo", "--people", "50", env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 100
    assert "\x1b" not in done.stdout
    for heading in ("What the quiz received", "One record of the audit log", "Where to look next"):
        assert heading in done.stdout


class Quiet:
    """No progress."""

    @contextlib.contextmanager
    def step(self, title, total=None):
        yield lambda done, note: None


@pytest.mark.parametrize(
    ("old", "new", "noticed_by"),
    [
        (
            "      x-data-subject: /id\n",
            "      x-data-subject: /id\n      x-consent: unsafe-holder-speaks-for-others\n",
            "grants",
        ),
        ("views: { x-data-category: user.demographic.political_opinion,", "views: { x-data-category: none,", "records"),
    ],
    ids=["holders speak for others, as in 2014", "views are said to be no personal data"],
)
async def test_a_leak_would_be_noticed(tmp_path, monkeypatch, old, new, noticed_by):
    """The measure is not the proxy's own: with a catalog that lets data out, what the apps received exceeds the grants;
    with one that calls it nobody's, the apps' books hold more than the log tells.
    """
    weak = tmp_path / "shipped"
    shutil.copytree(shipped(), weak)
    overlay = weak / "platforms" / "sample" / "overlay.yaml"
    assert old in overlay.read_text()
    overlay.write_text(overlay.read_text().replace(old, new, 1))
    policy = weak / "policy.yaml"  # such an overlay is not the one that was reviewed
    policy.write_text(policy.read_text().replace("unreviewed: false", "unreviewed: true"))
    for module in (demo_folder, initial):
        monkeypatch.setattr(module, "shipped", lambda: weak)
    outcome = await run(Options(people=100, seed=4, directory=tmp_path / "demo"), Quiet(), lambda done: None)
    assert outcome.verified
    assert bool(outcome.unconsented) == (noticed_by == "grants")
    assert outcome.match == (noticed_by == "grants")
    assert not outcome.good
