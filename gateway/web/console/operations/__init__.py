"""Pages of operators: present state, searches, acts with their reasons, knowledge, and the public status."""
