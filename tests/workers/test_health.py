import os
import time
from pathlib import Path

from workers.health import complaint


def test_a_fresh_sign_is_no_complaint(tmp_path: Path) -> None:
    sign = tmp_path / "alive"
    sign.touch()
    assert complaint(sign) is None


def test_an_old_or_missing_sign_is_told(tmp_path: Path) -> None:
    sign = tmp_path / "alive"
    assert "no worker" in str(complaint(sign))
    sign.touch()
    os.utime(sign, (time.time() - 90, time.time() - 90))
    assert "last sign of life is 90 s old; at most 60 s" in str(complaint(sign))
