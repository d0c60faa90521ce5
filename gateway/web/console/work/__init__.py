"""Pages of officers: the work queue of an agency, its applications, the acts on them, its statistics."""
