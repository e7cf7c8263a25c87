"""Tell what can be an id before anything is looked up."""

import re


def looks_like(identifier: str, pattern: str) -> bool:
    """Tell whether an id from an address follows its grammar; one that does not names nothing."""
    return re.fullmatch(pattern, identifier) is not None
