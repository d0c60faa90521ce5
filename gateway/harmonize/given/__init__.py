"""What a submission gives: its leaves, and the place in it where a rule is applied."""
