"""Provenance: where a value came from, where it went, and which documents read it."""
