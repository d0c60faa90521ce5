"""Tests of the comparison of working rows with the evidence."""
