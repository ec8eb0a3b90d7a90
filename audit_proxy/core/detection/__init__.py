"""Harvesting measured in people, all pure: the caller passes ``now`` and keeps the state.

``keys`` (people as 64-bit keyed numbers), ``windows`` (a minute to ninety days, cut into buckets), ``distinct`` (how many
people in each window, how many of a page are new), ``budgets`` (how many people an app may reach).
"""
