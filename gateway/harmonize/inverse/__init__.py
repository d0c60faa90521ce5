"""Reads requests backwards, and holds what was read against what was given."""
