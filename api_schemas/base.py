"""What all schemas share: strictness, ids and times."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from ulid import ULID

ULID_PATTERN = r"[0-9a-hjkmnp-tv-z]{26}"


class Schema(BaseModel):
    """Immutable model that refuses unknown fields, so that typing errors never pass silently."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def new_id(prefix: str) -> str:
    """Return a fresh id such as `job_01k…`: unique, and sortable by time of creation."""
    return f"{prefix}_{str(ULID()).lower()}"


def rfc3339(moment: datetime) -> str:
    """Format an aware UTC time as RFC 3339 with milliseconds and `Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _distinct(values: list[str]) -> list[str]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"each id may stand only once; repeated: {', '.join(repeated)}")
    return values


# PostgreSQL has no place for NUL characters.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Timestamp = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the stored bytes, in hex.")]
ImageId = Annotated[str, Field(pattern=rf"^img_{ULID_PATTERN}$", examples=["img_01k8zd6c2q4x7v9m3n5p8r0s1t"])]
ImageSetId = Annotated[str, Field(pattern=rf"^set_{ULID_PATTERN}$", examples=["set_01k8zd6c2q4x7v9m3n5p8r0s1t"])]
JobId = Annotated[str, Field(pattern=rf"^job_{ULID_PATTERN}$", examples=["job_01k8zd6c2q4x7v9m3n5p8r0s1t"])]
DistinctImageIds = Annotated[list[ImageId], AfterValidator(_distinct)]
Point = tuple[
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
]
