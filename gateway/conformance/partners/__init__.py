"""Simulated partners: brokers, agencies and customs that behave, or misbehave, as told."""
