"""Whether the hub can take work."""
