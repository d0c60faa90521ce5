"""The trust of the hub: takes certificates, lists and keys, leaves verdicts with the data they rest on.

The keys of the hub, its trust stores, loaded revocation data and trusted lists, the signers of
submissions, and whether evidence gets its time stamps in time.
"""
