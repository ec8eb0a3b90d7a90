"""All scenarios by name."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from audit_proxy.simulation import attacks, benign, sybils
from audit_proxy.simulation.setting import Setting
from audit_proxy.simulation.traffic import Actor


class Kind(StrEnum):
    attack = "attack"
    benign = "benign"
    bounded = "bounded"  # stays under every limit: only the leak counts


class Group(StrEnum):
    """What a scenario is reported under."""

    blatant = "blatant"
    twice = "twice the budget"
    sybil = "sybils"
    slow = "low and slow"
    token = "one token"
    bounded = "just under"
    benign = "benign"


class Scenario(NamedTuple):
    """``people``: everyone on the platform, unless told otherwise."""

    name: str
    kind: Kind
    group: Group
    actors: Callable[[Setting], list[Actor]]
    people: int = 2_000_000

    @property
    def summary(self) -> str:
        return " ".join((self.actors.__doc__ or "").split())


_ALL = (
    Scenario("quiz-2014", Kind.attack, Group.blatant, attacks.quiz, 87_000_000),
    Scenario("purpose-drift", Kind.attack, Group.blatant, attacks.drift),
    Scenario("sequential-ids", Kind.attack, Group.blatant, attacks.sequential),
    Scenario("shuffled-ids", Kind.attack, Group.blatant, attacks.shuffled),
    Scenario("contact-importer", Kind.attack, Group.blatant, attacks.contacts),
    Scenario("phone-oracle", Kind.attack, Group.blatant, attacks.oracle),
    Scenario("token-hopping", Kind.attack, Group.blatant, attacks.hopping),
    Scenario("whole-population", Kind.attack, Group.blatant, attacks.whole),
    Scenario("sybil-holders", Kind.attack, Group.sybil, sybils.holders),
    Scenario("sybil-apps", Kind.attack, Group.sybil, sybils.apps),
    Scenario("twice-the-budget", Kind.attack, Group.twice, attacks.twice_the_budget),
    Scenario("low-and-slow", Kind.attack, Group.slow, attacks.slow, 87_000_000),
    Scenario("low-and-slow-small", Kind.attack, Group.slow, attacks.slow),
    Scenario("extracted-token", Kind.attack, Group.token, attacks.extracted),
    Scenario("just-under", Kind.bounded, Group.bounded, attacks.bounded, 87_000_000),
    Scenario("ordinary-apps", Kind.benign, Group.benign, benign.ordinary),
    Scenario("viral-launch", Kind.benign, Group.benign, benign.viral),
    Scenario("backfill", Kind.benign, Group.benign, benign.backfill),
    Scenario("contact-finder", Kind.benign, Group.benign, benign.finder),
    Scenario("support-tool", Kind.benign, Group.benign, benign.support),
    Scenario("dashboard", Kind.benign, Group.benign, benign.dashboard),
    Scenario("sync-after-outage", Kind.benign, Group.benign, benign.outage),
    Scenario("test-apps", Kind.benign, Group.benign, benign.tests),
)
SCENARIOS = {one.name: one for one in _ALL}
