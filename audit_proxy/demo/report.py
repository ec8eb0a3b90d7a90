"""What the demo shows (in progress: being written together with apps.py, run.py and cli/demo.py)."""
