"""The people of an organisation: who may sign in, with which roles."""
