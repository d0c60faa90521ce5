"""One form for a set of documents: its fields, its values, and the submission that they make."""
