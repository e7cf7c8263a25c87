import subprocess
import sys
from pathlib import Path

from workers.scratch import Scratch

HOLD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from workers.scratch import Scratch
with Scratch(Path(sys.argv[1]), "dead").folder("job") as folder:
    (folder / "input").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_fresh_and_goes(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "scratch", "me")
    with scratch.folder("job") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(b"x")
    assert not folder.exists()
    with scratch.folder("job") as folder:
        assert list(folder.iterdir()) == []
    scratch.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_dead_worker_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    living = Scratch(tmp_path, "living")
    with living.folder("job"):
        subprocess.run([sys.executable, "-c", HOLD_AND_DIE, str(tmp_path)], check=False)
        assert (tmp_path / "dead" / "job" / "input").exists()
        Scratch(tmp_path, "new").close()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["living"]
        assert (tmp_path / "living" / "job").is_dir()
    living.close()
