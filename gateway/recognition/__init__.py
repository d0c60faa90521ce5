"""Mutual recognition: whom the authorities of others admit, as data that is signed.

Trusted lists (ETSI TS 119 612, and our own form), bridges and vouching gateways.  Pure: lists
come as octets that somebody fetched, the moment is given, nothing is kept here.
"""
