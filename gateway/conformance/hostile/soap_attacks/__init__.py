"""Hostile calls on the SOAP faces."""
