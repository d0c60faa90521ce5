"""Verbs about certificates, authorities and whom we trust."""
