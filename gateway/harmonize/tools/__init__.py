"""Tools around mappings: sample submissions, diagrams, provenance."""
