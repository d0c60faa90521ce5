"""Reads what organisations answer, by the same primitives backwards."""
