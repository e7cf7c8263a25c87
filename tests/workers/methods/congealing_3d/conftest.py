import pytest

from tests.workers.methods.congealing_3d.photographs import bank_of, observed, reader_of
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet, drawn_set
from workers.methods.congealing_3d.pose.bank import Bank, SurfaceReader
from workers.methods.congealing_3d.pose.observation import Observations


@pytest.fixture(scope="session")
def reader() -> SurfaceReader:
    """Draws and describes an animal."""
    return reader_of(animal(0))


@pytest.fixture(scope="session")
def bank(reader: SurfaceReader) -> Bank:
    """Views of the animal from 256 sides."""
    return bank_of(reader)


@pytest.fixture(scope="session")
def made() -> ShapeSet:
    """Six pictures of the animal."""
    return drawn_set([animal(0)], 6, 3, size=(192, 160), look="places")


@pytest.fixture(scope="session")
def seen(made: ShapeSet, bank: Bank) -> Observations:
    """The pictures, described with a little noise."""
    return observed(made, bank, noise=0.2)
