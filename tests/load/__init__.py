"""How fast the gateway is, measured beside what no implementation could do without.

``python -m tests.load --json`` runs everything; ``gateway/manual/speed.md`` says how to read it.
"""
