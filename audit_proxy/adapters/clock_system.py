"""The machine's clock (port ``Clock``)."""

import time


class SystemClock:
    """Seconds since the epoch, as the operating system has them."""

    __slots__ = ()

    now = staticmethod(time.time)
