"""What a user is told when a job fails; tracebacks stay in the log."""

import errno

import torch

from api_schemas.jobs import JobError
from workers.backbones.weights.errors import WeightsError
from workers.methods.base import UnfitImagesError

MAX_DETAIL = 1000


def describe_failure(error: Exception) -> JobError:
    """Turn whatever a method raised into a job's error."""
    if _is_out_of_memory(error):
        return JobError(
            code="out-of-memory",
            title="The worker ran out of memory",
            detail=f"{_one_line(error)}. Use a smaller working_size or fewer images.",
            retryable=True,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return JobError(
            code="storage-full",
            title="The worker's disk is full",
            detail="No space was left for the job's files. Free some space and submit the job again.",
            retryable=True,
        )
    if isinstance(error, WeightsError):
        return JobError(
            code="weights-missing",
            title="Weights are not at hand",
            detail=_one_line(error),
            retryable=True,
        )
    if isinstance(error, UnfitImagesError):
        return JobError(
            code="unfit-images",
            title="The images cannot be aligned",
            detail=str(error)[:MAX_DETAIL],
            retryable=False,
        )
    return JobError(
        code="method-error", title="The method failed on these images", detail=_one_line(error), retryable=False
    )


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
