"""The demo's course of events (in progress: being written together with apps.py, report.py and cli/demo.py)."""
