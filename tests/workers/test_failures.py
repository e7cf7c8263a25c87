import errno

import pytest
import torch

from workers.backbones.weights.errors import MissingWeightsError, WeightsError
from workers.failures import MAX_DETAIL, describe_failure
from workers.methods.base import OtherWeightsError, UnfitImagesError


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (ValueError("a shape does not fit"), "method-error", False),
        (UnfitImagesError("the images share nothing"), "unfit-images", False),
        (MemoryError(), "out-of-memory", True),
        (torch.OutOfMemoryError("CUDA out of memory"), "out-of-memory", True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "out-of-memory",
            True,
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "storage-full", True),
        (OSError(errno.EACCES, "Permission denied"), "method-error", False),
        (MissingWeightsError("dino_vits8 is missing"), "weights-missing", True),
        (WeightsError("unet/config.json describes another network"), "weights-unusable", True),
        (OtherWeightsError("made with sd15, here is sd14"), "other-weights", False),
    ],
)
def test_each_failure_has_its_code(error: Exception, code: str, retryable: bool) -> None:
    described = describe_failure(error)
    assert (described.code, described.retryable) == (code, retryable)
    assert described.detail


def test_the_detail_names_the_exception_in_one_line() -> None:
    assert describe_failure(ValueError("two\n  lines")).detail == "ValueError: two lines"


def test_a_long_detail_is_cut() -> None:
    assert len(describe_failure(ValueError("x" * 5000)).detail) == MAX_DETAIL
