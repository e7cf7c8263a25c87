"""How much of a similarity matrix is held at once."""

ELEMENTS = 1 << 22


def chunk_rows(columns: int) -> int:
    """Rows of a matrix with this many columns that may be held at once: 16 MiB in float32, and at least one row."""
    return max(1, ELEMENTS // max(1, columns))
