"""Harvests and ordinary use, drawn from a seed and led through the detection of the proxy on a virtual clock.

``people`` (a population with friends, computed, never stored), ``traffic`` (what an app asks and is answered; many apps in
one order of time), ``conduct`` (what an app does when it is refused), ``attacks`` and ``sybils`` and ``benign`` (the families),
``scenarios`` (all of them by name), ``guard`` (the ledger of the proxy, asked as the proxy asks it), ``measure`` (one run in
numbers), ``events`` (traffic from outside). No I/O, no clock and no other randomness than ``random.Random(seed)``.
"""
