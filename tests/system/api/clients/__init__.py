"""Programs around generated clients of the API: each does the same and prints what it saw as JSON."""
