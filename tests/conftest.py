"""Hypothesis without deadlines: coverage and a busy machine make any single example slow, and that is no failure."""

from hypothesis import settings

settings.register_profile("audit_proxy", deadline=None)
settings.load_profile("audit_proxy")
