"""Hostile input: attacks as scenarios, to be run against any gateway."""
