"""Opens messages whose envelopes are like one that was read before, without reading them again."""
