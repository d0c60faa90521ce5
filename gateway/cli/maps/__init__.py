"""Verbs about mappings."""
