"""The demands of AS4 profiles on P-Modes, and the lint checks of agreements by AS4."""
