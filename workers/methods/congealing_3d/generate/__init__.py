"""A canonical shape out of nothing but pictures: textual inversion, score distillation, and a mesh."""
