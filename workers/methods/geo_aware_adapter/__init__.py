"""The supervised part of Telling Left from Right: a network that learns to tell parts apart that look alike."""
