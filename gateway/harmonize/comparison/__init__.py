"""Compares two mapping bundles: the asks, needs, targets and checks of documents, before and after."""
