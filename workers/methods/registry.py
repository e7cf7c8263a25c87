"""Load the code of a method from its spec."""

import importlib
from typing import Any

from api_schemas.methods.spec import MethodSpec
from workers.methods.base import Method


def load_method(spec: MethodSpec) -> type[Method[Any]]:
    """Import the class that `spec.implementation` (`module:attribute`) names.

    Raises:
        ValueError: the name has no colon, or what it names is not a `Method`.
        ImportError: the module does not exist or does not import.
    """
    module_name, colon, attribute = spec.implementation.partition(":")
    if not colon:
        raise ValueError(f"implementation {spec.implementation!r} of {spec.id!r} must be written 'module:attribute'")
    loaded = getattr(importlib.import_module(module_name), attribute, None)
    if not (isinstance(loaded, type) and issubclass(loaded, Method)):
        raise ValueError(f"implementation {spec.implementation!r} of {spec.id!r} is not a workers.methods.base.Method")
    return loaded
