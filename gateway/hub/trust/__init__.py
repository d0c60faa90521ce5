"""Whom the hub believes: registered certificates, lists in hand, recognition, verdicts kept."""
