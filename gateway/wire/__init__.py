"""Between bytes and trees, with limits, knowing nothing of any protocol above SOAP."""
