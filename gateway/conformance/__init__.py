"""Partners that play their part from outside: agencies, customs and brokers, each a process of its own.

They know what a real partner would know: its own key, whom it trusts, what was agreed, and
the public schemas.  Nothing of the hub's inside is used here.
"""
