"""Results to pixels."""
