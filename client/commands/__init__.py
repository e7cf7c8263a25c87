"""The commands of `congeal`, by what they are about."""
