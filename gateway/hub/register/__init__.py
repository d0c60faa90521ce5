"""The register of parties and agreements, as the hub reads it."""
