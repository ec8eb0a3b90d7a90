"""Configuration: YAML files, parsed and validated once at start, secrets by file or command.

``model`` has the shapes, defaults and units of ``audit-proxy.yaml``; ``files`` reads YAML with the line of every key and
turns each problem into ``file:line: what``; ``policy`` and ``apps`` read ``policy.yaml`` and ``apps.yaml``; ``secrets``
reads a secret by file or command; ``load`` is the one entry that reads everything and reports all problems at once.
"""
