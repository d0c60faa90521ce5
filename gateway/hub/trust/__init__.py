"""Whom the hub believes: takes certificates, lists and keys, leaves verdicts with all they rest on.

The keys of the hub, its trust stores, loaded revocation data and trusted lists, the signers of
submissions, and whether evidence gets its time stamps in time.
"""
