"""Fuzzing: what comes from outside as bytes is refused with its own error, or read in one way only.

Parts: ``harness`` (one function a target: bytes in, an exception other than the promised one is a finding), ``run``
(coverage-guided by atheris: ``make fuzz``), ``test_harness`` (the same functions on their seeds, on drawn bytes and on what
was once found; part of every test run).
"""
