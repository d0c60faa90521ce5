"""Acts of officers at the console: take the officer and the application, leave the act and its evidence.

An officer sees the facts of an application, claims work, acts alone or by two, and switches an agency to
the console and back.
"""
