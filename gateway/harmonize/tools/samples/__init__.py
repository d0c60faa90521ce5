"""Draws valid submissions from mappings alone."""
