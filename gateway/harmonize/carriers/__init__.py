"""Carries requests and notices in other formats than XML: JSON and fixed records, both directions."""
