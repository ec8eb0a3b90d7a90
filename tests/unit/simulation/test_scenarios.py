"""The families: what they ask for, apart from what is done against it."""

from itertools import islice

import pytest

from audit_proxy.core.detection.budgets import Budgets
from audit_proxy.simulation import sybils
from audit_proxy.simulation.attacks import daily_allowance
from audit_proxy.simulation.guard import Open
from audit_proxy.simulation.people import People
from audit_proxy.simulation.scenarios import SCENARIOS, Group, Kind
from audit_proxy.simulation.setting import Setting, app, operated
from audit_proxy.simulation.traffic import DAY, Page, lead

PEOPLE = 100_000


def setting(seed: int = 1, size: float = 1.0) -> Setting:
    return Setting(People(PEOPLE, seed), seed, operated(Budgets(), PEOPLE), size)


def pages_of(name: str, seed: int = 1, size: float = 1.0, most: int | None = None) -> list[Page]:
    return [page for page, _ in islice(lead(SCENARIOS[name].actors(setting(seed, size)), Open()), most)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_seed_gives_the_same_traffic_and_another_seed_other_traffic(name) -> None:
    first, again, other = (pages_of(name, seed, 0.2, 300) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", SCENARIOS)
def test_pages_come_in_order_and_are_about_people_who_exist(name) -> None:
    """Ids that are nobody's lie outside the population, and a grant is of somebody on the page."""
    pages = pages_of(name, size=0.2, most=2_000)
    assert pages
    assert [page.at for page in pages] == sorted(page.at for page in pages)
    for page in pages:
        assert all(0 <= who < PEOPLE for who in page.subjects)
        assert all(who >= PEOPLE for who in page.missing)
        assert set(page.granted) <= set(page.subjects)
        assert not page.missing or page.looked_up


@pytest.mark.parametrize("name", SCENARIOS)
def test_only_attacks_are_hostile(name) -> None:
    hostile = any(page.hostile for page in pages_of(name, size=0.1))
    assert hostile == (SCENARIOS[name].kind is not Kind.benign)


def test_the_quiz_has_as_many_installers_as_its_size_says() -> None:
    installers = {page.holder for page in pages_of("quiz-2014", size=0.1)}
    assert 420 < len(installers) < 580


def test_shuffled_ids_hit_somebody_as_often_as_is_known_of_such_scrapes() -> None:
    pages = pages_of("shuffled-ids", size=0.2)
    hits = sum(len(page.subjects) for page in pages)
    assert hits / sum(len(page.subjects) + len(page.missing) for page in pages) == pytest.approx(0.0085, rel=0.1)


def test_sybil_apps_of_one_owner_divide_the_people_without_overlap() -> None:
    """Up to a hundred of them; no person is asked for twice."""
    pages = [page for page, _ in lead(sybils.apps(setting(size=0.2)), Open())]
    assert {page.app.owner for page in pages} == {"Shell company"}
    assert 8 <= len({page.app.id for page in pages}) <= 20
    asked = [who for page in pages for who in page.subjects]
    assert len(set(asked)) == len(asked)
    assert len({one.app.id for one, _ in lead(sybils.apps(setting(size=50)), Open(), pages[0].at + DAY)}) == 100


def test_the_drift_begins_after_the_rename() -> None:
    pages = pages_of("purpose-drift", size=0.2)
    assert {page.app.name for page in pages if page.hostile} == {"Voter insights"}
    assert {page.app.name for page in pages if not page.hostile} == {"horoscope"}
    assert len({page.app.id for page in pages}) == 1


def test_who_stays_just_under_reads_the_limits() -> None:
    """Coverage of a small platform is the narrowest of the defaults: 5,000 people in 90 days and a sixth."""
    assert daily_allowance(setting(), app("any")) == pytest.approx(5_000 / 105 * 0.99)


def test_ordinary_apps_are_of_all_sizes_and_busier_in_the_evening() -> None:
    pages = pages_of("ordinary-apps", size=0.5)
    users: dict[str, set[int | None]] = {}
    for page in pages:
        users.setdefault(page.app.id, set()).add(page.holder)
    sizes = sorted(map(len, users.values()))
    assert sizes[-1] > 20 * sizes[len(sizes) // 2]
    begin = setting().begin
    evening = sum(0.5 < (page.at - begin) / DAY % 1 < 0.84 for page in pages)
    night = sum((page.at - begin) / DAY % 1 < 0.34 for page in pages)
    assert evening > 2 * night


def test_every_group_and_kind_has_a_scenario_and_each_says_what_it_is() -> None:
    assert {one.group for one in SCENARIOS.values()} == set(Group)
    assert {one.kind for one in SCENARIOS.values()} == set(Kind)
    assert all(one.summary for one in SCENARIOS.values())
