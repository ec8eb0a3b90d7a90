"""What enforce needs of reviews, and how reviews get into an overlay."""

import json
from pathlib import Path

import pytest
import yaml

from audit_proxy.settings.catalog import load_catalog
from audit_proxy.settings.check import check
from audit_proxy.settings.files import ConfigProblems
from audit_proxy.settings.load import load_settings_only
from audit_proxy.settings.reviews import NotReviewable, reviewed
from tests.simulator.people import document as people
from tests.simulator.proxy import configure

OVERLAY = """# What the vendor does not say
overlay: 1.0.0
info: {title: O, version: "1"}
actions:
  # people
  - target: $.components.schemas.Person
    update: {x-data-subject: /id}
"""
APP = "apps.yaml"


@pytest.fixture
def place(tmp_path):
    """A whole configuration whose platform nobody has reviewed."""
    (tmp_path / "overlay.yaml").write_text(OVERLAY)
    (tmp_path / "vendor.json").write_text(json.dumps(people()))
    platform = {"openapi": "vendor.json", "overlay": "overlay.yaml"}
    return configure(tmp_path, "http://127.0.0.1:9", {}, platform=platform).config


def review(config: Path, *names: str) -> str:
    """Reviews these, or everything; what was written."""
    settings = load_settings_only(config)
    made = reviewed(settings, names or [one.id for one in load_catalog(settings).operations], "Ada", "2026-11-25")
    (config.parent / "overlay.yaml").write_text(made.text)
    return made.text


def problems(config: Path) -> list[str]:
    with pytest.raises(ConfigProblems) as raised:
        check(config)
    return [str(one).removeprefix(f"{config.parent}/") for one in raised.value.problems]


def write(config: Path, name: str, text: str) -> Path:
    (config.parent / name).write_text(text)
    return config


def test_unreviewed_operations_in_enforce_are_a_problem_at_the_line_that_enforces_them(place):
    (text,) = problems(write(place, "policy.yaml", "# mine\nmode: enforce\n"))
    assert text.startswith("policy.yaml:2:7: mode: enforce, but nobody has reviewed ")
    more = len(load_catalog(load_settings_only(place)).operations) - 6
    assert f" and {more} more. See 'audit-proxy catalog status'" in text
    assert "unsafe_enforce_unreviewed" in text


def test_reviewed_as_they_are_they_may_be_enforced_until_the_vendor_changes_one(place):
    review(place)
    check(place)
    vendor = people()
    vendor["components"]["schemas"]["Person"]["properties"]["phone"] = {"type": "string"}
    (text,) = problems(write(place, "vendor.json", json.dumps(vendor)))
    assert "policy.yaml:1:7: mode: enforce, but changed since the review: " in text
    assert "nobody" not in text
    review(place)
    check(place)


def test_so_does_a_change_of_the_overlay(place):
    """What a person saw is what the two make together: declaring people's data public undoes the review."""
    review(place)
    overlay = place.parent / "overlay.yaml"
    overlay.write_text(overlay.read_text().replace("x-data-subject: /id", "x-data-subject: /id, x-consent: public"))
    assert "changed since the review" in problems(place)[0]


@pytest.mark.parametrize(
    ("policy", "mode", "expected"),
    [
        ("mode: monitor\n", None, None),
        ("mode: monitor\noperations:\n  getMe: {mode: enforce}\n", None, "policy.yaml:3:17: mode: enforce, but nobody has reviewed getMe."),
        ("mode: enforce\nunsafe_enforce_unreviewed: true\n", None, None),
        ("mode: monitor\n", "enforce", "apps.yaml:8:9: mode: enforce, but nobody has reviewed "),
        ("mode: monitor\nunknown_apps: {admit: true, mode: enforce}\n", None, "policy.yaml:2:35: mode: enforce, but "),
        ("mode: monitor\nunknown_apps: {admit: false, mode: enforce}\n", None, None),
    ],
)  # fmt: skip
def test_what_counts_is_whether_anything_puts_it_into_enforce(place, policy, mode, expected):
    """The global mode, an operation's, an app's or the default profile's; each problem stands where that is written."""
    apps = yaml.safe_load((place.parent / APP).read_text())
    if mode is not None:
        apps["apps"][0] |= {"mode": mode}
    write(place, APP, yaml.safe_dump(apps))
    write(place, "policy.yaml", policy)
    if expected is None:
        check(place)
    else:
        (text,) = problems(place)
        assert text.startswith(expected)


def test_a_review_is_one_line_at_the_end_and_nothing_else_changes(place):
    text = review(place, "getMe")
    assert text.startswith(OVERLAY)
    (line,) = text.removeprefix(OVERLAY).splitlines()
    assert line.startswith(
        """  - { target: "$.paths['/me'].get", update: { x-reviewed: { by: "Ada", at: "2026-11-25", of: """
    )


def test_a_new_review_takes_the_place_of_the_earlier_one(place):
    first = review(place, "getMe", "getPerson")
    assert review(place, "getMe").count("\n") == first.count("\n")
    settings = load_settings_only(place)
    again = reviewed(settings, ["getMe"], "Grace", "2026-12-01")
    assert again.lines[0].endswith("} } }")
    assert 'by: "Grace"' in again.lines[0]
    assert again.changed == ()
    assert again.text.count("'/me'") == 1


def test_components_and_operations_are_reviewed_in_one_go(place):
    """The operations' reviews are of what is left beside the component."""
    review(place, "getMe", "#/components/schemas/Person")
    (me,) = (one for one in load_catalog(load_settings_only(place)).operations if one.id == "getMe")
    assert [(unit.name, unit.state.value) for unit in me.units] == [
        ("getMe", "reviewed"), ("#/components/schemas/Person", "reviewed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "by", "at", "what"),
    [
        (["getMee"], "Ada", "2026-11-25", "the catalog has no operation 'getMee'; did you mean 'getMe'?"),
        (["#/components/schemas/Nobody"], "Ada", "2026-11-25", "matches nothing|refers to a component"),
        (["getMe"], " ", "2026-11-25", "--by must be"),
        (["getMe"], "Ada", "25.11.2026", "--at a date like"),
    ],
)
def test_what_cannot_be_reviewed_is_said(place, names, by, at, what):
    with pytest.raises(NotReviewable, match=what):
        reviewed(load_settings_only(place), names, by, at)


@pytest.mark.parametrize(
    "overlay",
    [
        '{"overlay": "1.0.0", "actions": [{"target": "$.info", "update": {"title": "T"}}]}',
        "overlay: 1.0.0\nactions: [{target: $.info, update: {title: T}}]\n",
        "actions:\n  - {target: $.info, update: {title: T}}\noverlay: 1.0.0\n",
    ],
)
def test_an_overlay_that_lines_cannot_be_added_to_is_left_alone_and_the_lines_are_told(place, overlay):
    """JSON, a list in brackets, actions that are not at the end: a person puts them in."""
    write(place, "overlay.yaml", overlay)
    with pytest.raises(NotReviewable, match="by hand") as raised:
        reviewed(load_settings_only(place), ["getMe"], "Ada", "2026-11-25")
    (line,) = raised.value.lines
    write(place, "overlay.yaml", f"overlay: 1.0.0\nactions:\n{line}\n")
    assert [one.id for one in load_catalog(load_settings_only(place)).operations if one.review_state == "reviewed"] == [
        "getMe"
    ]


def test_line_ends_stay_as_they_are(place):
    """A file with CRLF gets lines with CRLF, and a new review takes the earlier one's place there as well."""
    crlf = OVERLAY.replace("\n", "\r\n")
    (place.parent / "overlay.yaml").write_bytes(crlf.encode())
    settings = load_settings_only(place)
    text = reviewed(settings, ["getMe"], "Ada", "2026-11-25").text
    assert text.startswith(crlf)
    assert text.count("\r\n") == text.count("\n") == crlf.count("\n") + 1
    (place.parent / "overlay.yaml").write_bytes(text.encode())
    assert reviewed(settings, ["getMe"], "Ada", "2026-11-25").text == text


def test_a_line_that_only_looks_like_a_review_is_not_taken_out(place):
    """In a text of several lines it says something to people; then a person puts the new review in."""
    line = review(place, "getMe").splitlines()[-1]
    write(
        place,
        "overlay.yaml",
        OVERLAY + f"  - target: $.info\n    description: |\n      such as\n    {line}\n    update: {{}}\n",
    )
    with pytest.raises(NotReviewable, match="by hand"):
        review(place, "getMe")


def test_without_an_overlay_a_whole_one_is_made(place):
    settings = load_settings_only(place)
    alone = settings.model_copy(update={"platform": settings.platform.model_copy(update={"overlay": None})})
    made = reviewed(alone, ["getMe"], "Ada", "2026-11-25")
    write(place, "overlay.yaml", made.text)
    assert [one.id for one in load_catalog(settings).operations if one.review_state == "reviewed"] == ["getMe"]
