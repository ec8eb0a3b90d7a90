"""``audit-proxy demo`` (in progress: being written together with audit_proxy/demo/apps.py, run.py and report.py)."""
