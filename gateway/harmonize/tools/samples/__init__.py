"""Draws valid random submissions from mappings alone."""
