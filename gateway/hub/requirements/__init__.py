"""Steps 3 and 7: take declared goods and decisions, leave which requirements are met, and how.

The ledger writes off the uses of certificates by a declaration, and gives them back. Results that agencies
report without an application, earlier results and partial releases count here as well.
"""
