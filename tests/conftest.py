"""Hypothesis without deadlines: coverage and a busy machine make any single example slow, and that is no failure.

``HYPOTHESIS_PROFILE=repeated`` tries the same examples each time, so that CI fails for a change and not by luck.
"""

import os

from hypothesis import settings

settings.register_profile("audit_proxy", deadline=None)
settings.register_profile("repeated", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "audit_proxy"))
