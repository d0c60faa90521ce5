"""Hostile answers of partners that the gateway calls."""
