"""Agreements written as CPA documents of CPPA 2.0."""
