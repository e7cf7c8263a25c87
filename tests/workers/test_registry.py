from dataclasses import replace

import pytest

from api_schemas.methods.nearest_neighbors import SPEC
from api_schemas.methods.registry import method_specs
from workers.methods.base import Method
from workers.methods.registry import load_method


def test_every_registered_method_has_code() -> None:
    for spec in method_specs().values():
        assert issubclass(load_method(spec), Method)


@pytest.mark.parametrize(
    "implementation", ["workers.methods.base", "workers.methods.base:Nothing", "workers.methods.base:InputImage"]
)
def test_what_is_no_method_is_refused(implementation: str) -> None:
    with pytest.raises(ValueError, match="implementation"):
        load_method(replace(SPEC, implementation=implementation))
