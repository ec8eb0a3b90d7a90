"""How much leaves before detection stops it, and whom it alarms for nothing: ``python -m benchmarks.detection``.

``limiter`` (the peer: requests an hour), ``runs`` (which scenarios, seeds and guards), ``figures`` (intervals), ``report`` (the
table and the plot). All of it is synthetic.
"""
