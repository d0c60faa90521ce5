"""The hub's knowledge: takes stored parties, agreements and mappings, leaves a snapshot in memory.

Every step reads the register at one version; a change of the register gives the next version.
"""
