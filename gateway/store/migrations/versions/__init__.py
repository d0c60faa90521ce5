"""Contain the revisions, oldest first."""
