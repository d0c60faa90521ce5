"""Compares the working rows with the evidence: what is stored must still be what was recorded with it."""
