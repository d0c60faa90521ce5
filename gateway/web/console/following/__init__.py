"""Pages of traders and brokers about their cases: list, timeline, documents, answers, statistics."""
