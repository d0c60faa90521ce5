"""Content where the mandated XPath or a careless reader does not look."""
