"""The images cannot be built where no container engine runs; what can be checked without one is checked here."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_the_linter(dockerfile: Path) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    outcome = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_run_as_a_plain_user_and_check_their_health(dockerfile: Path) -> None:
    final_stage = dockerfile.read_text().rsplit("\nFROM ", 1)[1].splitlines()
    assert "USER 10001" in final_stage
    assert any(line.startswith("HEALTHCHECK") for line in final_stage)


def test_every_service_is_healthy_confined_and_off_the_host() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service or "build" in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_only_the_worker_reserves_a_gpu() -> None:
    reserving = [name for name, service in COMPOSE["services"].items() if "deploy" in service]
    assert reserving == ["worker"]
    (device,) = COMPOSE["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_what_compose_refers_to_exists() -> None:
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_the_commands_of_the_images_exist() -> None:
    for command in ("serve", "worker"):
        outcome = subprocess.run(
            [sys.executable, "-m", "client", command, "--help"], capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stderr
