"""Chains of certificates made by chance from a seed, and what other validators say of them.

``python -m tests.pki.chains --seed S --number N`` compares ``gateway pki validate --use any`` with
validators of others; the page ``pki-suites.md`` of the manual argues what remains between them.
"""
