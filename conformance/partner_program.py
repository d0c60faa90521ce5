"""Imports the modules of every kind of simulated partner, for a process that forks the partners.

``python -m gateway_conformance KIND`` imports only the modules of its kind. This module imports those of all
kinds, with the shipped files that they read.
"""

from __future__ import annotations

from gateway_conformance import partners

for _name in dir(partners):
    getattr(partners, _name)
