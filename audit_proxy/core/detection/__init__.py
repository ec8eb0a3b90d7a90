"""Harvesting measured in people, all pure: the caller passes ``now`` and keeps the state.

``keys`` (people as 64-bit keyed numbers), ``windows`` (a minute to ninety days, cut into buckets), ``distinct`` (how many
people in each window, how many of a page are new), ``budgets`` (how many people an app may reach),
``uses`` (one page that is about to leave, as budgets see it), ``findings`` (what was seen, as numbers and a sentence, and the
verdict on a page), ``account`` (what is held of one app), ``ledger`` (all of them: judges and counts a page in one step),
``replay`` (the same out of the audit log).
"""
