"""Carries requests and notices in other forms than XML: JSON and fixed records, both directions."""
