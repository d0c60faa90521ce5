"""Agreements as CPA documents of CPPA 2.0: reader, conversion into P-Modes and back, rules."""
