"""A data-access auditing proxy for social APIs.

One request's way, and the room it goes through at each step (see docs/architecture.md)::

    frontends.data_plane   reads the request from the wire
      pipeline.admit       identity > operation > policy > app status
      frontends.data_plane asks the platform
      pipeline.review      inspect > consent > redact
      pipeline.record      the audit record, durable before anything is released
      frontends.data_plane releases what was judged

``core`` is pure and holds every rule; ``ports`` names what the pipeline needs from outside; ``adapters`` hold one
technology a file; ``wiring`` alone joins them. Only front ends, adapters, ``settings`` and ``cli`` do I/O.
"""

__version__ = "0.1.0"
