"""What a job is estimated to cost, and whether that is too much."""

from service.jobs.refusals import refusal
from service.jobs.submission import ResolvedSubmission
from service.problems import TOO_MUCH_MEMORY, TOO_MUCH_WORK
from service.settings import ServiceSettings

GIBIBYTE = 2**30
SHOWN_TFLOP_PER_S = 20
"""What a GPU may do; turns work into a time that says something to people."""
SECONDS_AN_HOUR = 3600


def check_costs(resolved: ResolvedSubmission, images: int, *, pointer: str, settings: ServiceSettings) -> None:
    """Refuse a job that is estimated to need more memory or work than is allowed.

    Args:
        resolved: what the submission asks for.
        images: number of all images.
        pointer: to them in the request.
        settings: the limits.

    Raises:
        ProblemError: it would.
    """
    _check_memory(resolved, images, pointer=pointer, max_bytes=settings.max_job_bytes)
    _check_work(resolved, images, pointer=pointer, max_tflop=settings.max_job_tflop)


def work_tflop(resolved: ResolvedSubmission, images: int) -> float | None:
    """Estimate the work in 10^12 operations; None where the method does not know it."""
    return resolved.params.work_tflop(images) or None


def _check_memory(resolved: ResolvedSubmission, images: int, *, pointer: str, max_bytes: int) -> None:
    needed = resolved.params.peak_bytes(images)
    if needed > max_bytes:
        detail = (
            f"{resolved.spec.id} would need about {_gibibytes(needed)} of memory for {images} images with these "
            f"parameters, the limit is {_gibibytes(max_bytes)}; give fewer images or a smaller working_size, or raise "
            "CONGEAL_MAX_JOB_BYTES if the workers have more"
        )
        raise refusal(TOO_MUCH_MEMORY, detail, pointer=pointer)


def _check_work(resolved: ResolvedSubmission, images: int, *, pointer: str, max_tflop: float) -> None:
    estimate = work_tflop(resolved, images)
    if estimate is not None and estimate > max_tflop:
        detail = (
            f"{resolved.spec.id} would cost about {_work(estimate)} for {images} images with these parameters, the "
            f"limit is {_work(max_tflop)}; give fewer points or images, or take a cheaper preset, or raise "
            "CONGEAL_MAX_JOB_TFLOP if the workers are fast enough"
        )
        raise refusal(TOO_MUCH_WORK, detail, pointer=pointer)


def _work(tflop: float) -> str:
    hours = tflop / SHOWN_TFLOP_PER_S / SECONDS_AN_HOUR
    return f"{tflop:,.0f} TFLOP (roughly {hours:.2g} hours at {SHOWN_TFLOP_PER_S} TFLOP/s)"


def _gibibytes(size: int) -> str:
    return f"{size / GIBIBYTE:.3g} GiB"
