"""Least disclosure, shown over generated submissions: ``python -m tests.isolation --json``."""
