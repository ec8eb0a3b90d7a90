"""Configuration: YAML files, parsed and validated once at start, secrets by file or command.

``load`` is the one entry that reads everything and says all problems at once. It stands on ``files`` (strict YAML with
the place of every value), ``model`` (shapes, defaults and units of ``audit-proxy.yaml``), ``validate`` (a model's errors
as problems with places), ``policy``, ``apps`` and ``admin_tokens`` (the other files), ``secrets`` (by file or command), ``tls`` (a listener's)
and ``catalog`` (the platform's documents); ``check`` holds all of it together. ``initial`` makes a first configuration
from what ``shipped`` finds, ``apps_import`` brings many apps into ``apps.yaml``, ``schemas`` makes JSON Schemas of the
models.
"""
