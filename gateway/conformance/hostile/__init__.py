"""Hostile input: attacks as plays, to be run against any gateway."""
