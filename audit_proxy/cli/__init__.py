"""The command line: one file per command group, thin: parse, call, print.

Each group file makes a ``typer.Typer`` (or a function) that ``app`` names and ``lazy`` imports when it is used. Exit
codes: 0 fine, 1 the answer is "no" (denied, tampered), 2 wrong use or configuration. ``--json`` on everything that
prints facts.
"""
