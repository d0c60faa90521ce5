"""Signatures altered in form, structure, value or algorithm."""
