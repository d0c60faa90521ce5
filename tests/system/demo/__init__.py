"""The demo, seen from outside."""
