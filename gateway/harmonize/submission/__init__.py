"""What one submission says, as the engine reads it: values by field, scopes of evaluation, problems found."""
