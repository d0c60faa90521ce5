"""What mappings say: sources, steps, targets, checks, notices, documents, and the bundle of them all."""
