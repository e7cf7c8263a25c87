"""All queries, one small class a subject; the caller owns the transaction."""

from storage.database.repositories.coordination import (
    IdempotencyRepository,
    LeaseRepository,
    WorkerRepository,
)
from storage.database.repositories.images import ImageRepository, ImageSetRepository
from storage.database.repositories.jobs import JobRepository
from storage.database.repositories.meshes import MeshRepository

__all__ = [
    "IdempotencyRepository",
    "ImageRepository",
    "ImageSetRepository",
    "JobRepository",
    "LeaseRepository",
    "MeshRepository",
    "WorkerRepository",
]
