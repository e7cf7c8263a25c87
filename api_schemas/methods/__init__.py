"""One parameter model and one description a method."""
