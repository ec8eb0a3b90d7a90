"""File descriptors: every connection takes one, and the usual limit of a shell (1024) is below any real setting."""

import resource

_SPARE = 256  # the log's files, the consent store's, the admin listener's connections, keys being fetched


def connections_for(apps: int, upstream: int) -> int:
    """How many connections of apps the system allows, at most ``apps``, beside ``upstream`` to the platform.

    Raises this process' soft limit as far as that takes and its hard limit permits.
    """
    needed = apps + upstream + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = apps if soft == resource.RLIM_INFINITY else soft - upstream - _SPARE
    return max(1, min(apps, allowed))
