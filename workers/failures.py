"""What a user is told when a job fails; tracebacks stay in the log."""

import errno

from api_schemas.jobs import JobError
from workers.backbones.weights.errors import MissingWeightsError, WeightsError
from workers.memory import is_out_of_memory
from workers.methods.base import OtherWeightsError, UnfitImagesError

MAX_DETAIL = 1000


def describe_failure(error: Exception) -> JobError:
    """Turn whatever a method raised into a job's error."""
    if is_out_of_memory(error):
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
        is_missing = isinstance(error, MissingWeightsError)
        return JobError(
            code="weights-missing" if is_missing else "weights-unusable",
            title="Weights are not at hand" if is_missing else "The weights cannot be used",
            detail=_one_line(error),
            retryable=True,
        )
    if isinstance(error, OtherWeightsError):
        return JobError(
            code="other-weights",
            title="The extended result was made with other weights",
            detail=str(error)[:MAX_DETAIL],
            retryable=False,
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


def _one_line(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
