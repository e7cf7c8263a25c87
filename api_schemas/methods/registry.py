"""Find the methods: ours and those that other packages bring."""

from functools import cache
from importlib.metadata import entry_points

from api_schemas.methods.spec import MethodSpec

ENTRY_POINT_GROUP = "congeal.methods"


@cache
def method_specs() -> dict[str, MethodSpec]:
    """Return every registered method by id, in alphabetical order.

    Raises:
        ValueError: two packages register the same id, or an entry point is not a `MethodSpec`.
    """
    specs: dict[str, MethodSpec] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        spec = entry.load()
        if not isinstance(spec, MethodSpec):
            raise ValueError(f"entry point {entry.name!r} of {ENTRY_POINT_GROUP} is {spec!r}, not a MethodSpec")
        if spec.id in specs:
            raise ValueError(f"method id {spec.id!r} is registered twice")
        specs[spec.id] = spec
    return dict(sorted(specs.items()))
