"""Tells where a value came from, where it went, and who reads it."""
