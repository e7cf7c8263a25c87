"""The whole house at once: `congeal up`, a job from the command line, its result, and the way out."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from client.sdk import Congeal
from tests.client.pictures import write_pictures
from tests.client.process_tree import command_of, survivors
from tests.docs.pages import ROOT, blocks
from tests.e2e.running import Up

QUICK_S = 1.0


def slowest_answer_s(url: str, job_id: str) -> float:
    """Ask many things of the API while the job computes, and return the longest time an answer took."""
    slowest = 0.0
    with httpx.Client(base_url=url, trust_env=False) as http:
        while True:
            for path in (
                f"/v1/jobs/{job_id}",
                "/v1/jobs",
                "/v1/methods",
                "/readyz",
                f"/v1/jobs/{job_id}/events?after=0",
            ):
                began = time.monotonic()
                answer = http.get(path, headers={"Accept": "application/json"})
                slowest = max(slowest, time.monotonic() - began)
                assert answer.status_code == 200, answer.text
            if http.get(f"/v1/jobs/{job_id}").json()["state"] not in ("queued", "running"):
                return slowest
            time.sleep(0.05)


def test_from_up_to_a_result_and_down_again(up: Up, tmp_path: Path) -> None:
    assert up.url in up.first_line()
    pictures = write_pictures(tmp_path / "pictures", 3)
    params = ("-p", "working_size=128", "-p", "similarity_steps=20", "-p", "flow_steps=20")
    submitted = up.run("submit", str(tmp_path / "pictures"), "-m", "neural_congealing", *params, "--no-wait")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()
    assert re.fullmatch(r"job_[0-9a-z]{26}", job_id)

    assert slowest_answer_s(up.url, job_id) < QUICK_S

    waited = up.run("wait", job_id, "--timeout", "60")
    assert waited.returncode == 0, waited.stderr
    fetched = up.run("fetch", job_id, "--out", str(tmp_path / "result"))
    assert fetched.returncode == 0, fetched.stderr
    manifest = json.loads((tmp_path / "result" / "manifest.json").read_bytes())
    assert [image["name"] for image in manifest["images"]] == [path.name for path in pictures]
    assert all((tmp_path / "result" / artifact["name"]).is_file() for artifact in manifest["artifacts"])
    with Congeal(up.url) as congeal:
        ids = [image["id"] for image in manifest["images"]]
        carried = congeal.transfer(job_id, source=ids[0], points=[(64.0, 64.0)], targets=ids[1:])
    assert [target.target for target in carried.targets] == ids[1:]

    family = up.family()
    assert len(family) >= 3, "the API, the worker and its runner"
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert survivors(family, timeout_s=5) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{up.url}/livez", trust_env=False)


def test_the_example_of_the_readme_runs(up: Up, tmp_path: Path) -> None:
    up.first_line()
    write_pictures(tmp_path / "wings", 2)
    (example,) = blocks(ROOT / "README.md", "python")
    program = example.replace("http://127.0.0.1:8000", up.url)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("img_")
    assert (tmp_path / "result" / "manifest.json").is_file()


def test_the_death_of_a_part_is_told_and_ends_the_other(up: Up) -> None:
    up.first_line()
    family = up.family()
    os.kill(next(pid for pid in family if "workers" in command_of(pid)), signal.SIGKILL)
    assert up.process.wait(30) == 5
    assert up.process.stdout
    assert "worker (python -m workers) ended with exit code -9" in up.process.stdout.read()
    assert survivors(family, timeout_s=5) == []
