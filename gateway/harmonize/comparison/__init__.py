"""Two mapping bundles compared: what documents ask, need, send and check before, and after."""
