"""Tests of the import of inventories."""
