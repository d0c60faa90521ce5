"""The migrations of the database schema: forward only, one revision after another."""
