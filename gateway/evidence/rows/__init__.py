"""Compares the working rows with the evidence that was recorded with them."""
