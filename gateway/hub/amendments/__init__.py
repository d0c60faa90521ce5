"""Steps 2 to 4 for a case that exists: take an amended declaration, leave the calls that it changes.

The former declaration is compared with the new one. An agency is asked again only about the changes that
concern it, and applications whose items are gone are cancelled.
"""
