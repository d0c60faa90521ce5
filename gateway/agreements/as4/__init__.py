"""What profiles of AS4 demand of P-Modes, and what lint knows of agreements by AS4."""
