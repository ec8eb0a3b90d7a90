"""The two apps of the demo (in progress: being written together with run.py, report.py and cli/demo.py)."""
