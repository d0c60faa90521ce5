"""Least disclosure, shown over generated submissions: ``python -m tests.harmonize.isolation --json``."""
