"""The history of the database's schema: forward only, one revision after another."""
