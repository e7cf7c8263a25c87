"""`congeal weights` as a user types it, against a hub on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api_schemas.weights import weights_catalogue
from client.cli import app
from client.console import ExitCode
from tests.workers.backbones.weights.conftest import CONTENT
from tests.workers.backbones.weights.hub_server import PATIENCE_S, HubServer, Repository
from workers.weights_command import ExitCode as WorkersExitCode

UNPINNED, PINNED = "timm/vit_small_patch8_224.dino", "timm/vit_small_patch14_dinov2.lvd142m"


@dataclass
class Told:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Command:
    """Runs `congeal weights` with a hub, a weights folder and a cache of the test's own."""

    hub: HubServer
    folder: Path

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.folder.parent / "home"),
            "NO_PROXY": "127.0.0.1,localhost",
            "CONGEAL_WEIGHTS_DIR": str(self.folder),
            "COLUMNS": "200",
            **settings,
        }
        command = [sys.executable, "-m", "client", "weights", *arguments]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def __call__(self, *arguments: str, **settings: str) -> Told:
        process = self.start(*arguments, **settings)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        return Told(process.returncode, out, err)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """Give the command, with a hub that has one network whose content is small."""
    with HubServer() as hub:
        hub.repositories[UNPINNED] = Repository({"model.safetensors": CONTENT})
        yield Command(hub, tmp_path / "weights")


def test_pull_list_and_verify(command: Command) -> None:
    pulled = command("pull", "dino_vits8")
    assert (pulled.code, pulled.out) == (0, f"dino_vits8 {command.folder / 'dino_vits8'}\n")
    assert pulled.err == f"bringing dino_vits8: 86.7 MB from {UNPINNED} (Apache-2.0)\n"
    rows = {row["name"]: row for row in json.loads(command("list", "--json").out)}
    assert set(rows) == set(weights_catalogue())
    assert rows["dino_vits8"] == {
        "name": "dino_vits8",
        "backbones": ["dino_vits8"],
        "bytes": weights_catalogue()["dino_vits8"].bytes,
        "license": "Apache-2.0",
        "source": UNPINNED,
        "folder": str(command.folder / "dino_vits8"),
        "remark": None,
    }
    assert rows["sd15"]["backbones"] == ["sd15", "sd15_dift", "sd15+dinov2_vitb14"]
    assert rows["sd15"]["folder"] is None
    verified = command("verify")
    assert verified.code == 0
    assert all(part in verified.out for part in ("ok", "SHA256SUMS", "dino_vits8/model.safetensors"))


def test_the_list_is_a_table_for_people(command: Command) -> None:
    shown = command("list")
    assert shown.code == 0
    row = next(line for line in shown.out.splitlines() if "dinov2_vitb14_reg" in line)
    assert all(part in row for part in ("346 MB", "Apache-2.0", "missing", "timm/vit_base_patch14_reg4"))


def test_the_list_tells_of_a_checkpoint_that_is_not_taken(command: Command) -> None:
    (command.folder / "sd14").mkdir(parents=True)
    (command.folder / "sd14/sd-v1-4.ckpt").write_bytes(b"pickled")
    shown = command("list")
    assert shown.code == 0
    assert all(part in shown.err for part in ("sd14: ", "sd-v1-4.ckpt", "pickle", "unet/config.json"))
    rows = {row["name"]: row for row in json.loads(command("list", "--json").out)}
    assert "sd-v1-4.ckpt" in rows["sd14"]["remark"]
    assert rows["sd15"]["remark"] is None


def test_a_catalogue_of_ones_own_is_listed_and_its_faults_are_told(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('[my_net]\nhub = "me/net"\nlicense = "MIT"\nfiles = [{path = "model.safetensors", bytes = 9}]\n')
    rows = json.loads(command("list", "--json", CONGEAL_WEIGHTS_CATALOGUE=str(path)).out)
    assert rows[-1]["name"] == "my_net"
    path.write_text("[my_net]\n")
    told = command("list", CONGEAL_WEIGHTS_CATALOGUE=str(path))
    assert told.code == ExitCode.USAGE
    assert all(part in told.err.replace("\n", " ") for part in (str(path), "'my_net'", "hub"))


def test_weights_of_no_backbone_are_listed_and_pulled(command: Command) -> None:
    command.hub.repositories["timm/vgg16.tv_in1k"] = Repository({"model.safetensors": CONTENT})
    row = next(line for line in command("list").out.splitlines() if "vgg16" in line)
    assert all(part in row for part in ("none; methods ask for it", "553 MB", "BSD-3-Clause", "missing"))
    assert command("pull", "vgg16").code == 0
    (listed,) = [row for row in json.loads(command("list", "--json").out) if row["name"] == "vgg16"]
    assert (listed["backbones"], listed["folder"]) == ([], str(command.folder / "vgg16"))


def test_damage_is_found_told_and_mended(command: Command) -> None:
    command("pull", "dino_vits8")
    file = command.folder / "dino_vits8/model.safetensors"
    file.write_bytes(CONTENT[:-1] + b"x")
    verified = command("verify")
    assert verified.code == ExitCode.GAVE_UP
    assert "damaged" in verified.out
    assert "congeal weights pull dino_vits8 --force" in verified.err
    assert command("pull", "dino_vits8").code == 0
    assert command("verify").code == ExitCode.GAVE_UP
    assert command("pull", "dino_vits8", "--force").code == 0
    assert command("verify").code == 0


def test_each_state_has_its_word(command: Command) -> None:
    (command.folder / "dino_vits8").mkdir(parents=True)
    (command.folder / "dino_vits8/model.safetensors").write_bytes(CONTENT)
    (command.folder / "dinov2_vits14").mkdir()
    (command.folder / "dinov2_vits14/model.safetensors").write_bytes(CONTENT)
    told = command("verify", "dino_vits8", "dinov2_vits14", "dinov2_vitb14", "--json")
    assert told.code == ExitCode.GAVE_UP
    rows = {row["weights"]: row for row in json.loads(told.out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "dino_vits8": "not verified",
        "dinov2_vits14": "damaged",
        "dinov2_vitb14": "missing",
    }
    assert rows["dinov2_vits14"]["source"] == "the catalogue"
    assert rows["dinov2_vits14"]["expected"] == weights_catalogue()["dinov2_vits14"].files[0].sha256


def test_recorded_sums_that_make_no_sense_are_told(command: Command) -> None:
    (command.folder / "dino_vits8").mkdir(parents=True)
    (command.folder / "dino_vits8/model.safetensors").write_bytes(CONTENT)
    (command.folder / "dino_vits8/SHA256SUMS").write_text("no sum\n")
    told = command("verify")
    assert (told.code, "SHA256SUMS, line 1: 'no sum'" in told.err) == (ExitCode.GAVE_UP, True)


def test_nothing_here_is_no_fault_unless_it_was_asked_for(command: Command) -> None:
    assert command("verify") == Told(0, "", "no weights are on this machine\n")
    asked = command("verify", "dino_vits8")
    assert asked.code == ExitCode.GAVE_UP
    assert "congeal weights pull dino_vits8`" in asked.err


def test_names_of_backbones_stand_for_their_weights(command: Command) -> None:
    told = command("pull", "sd15_dift", "sd15+dinov2_vitb14", "dino_vits8", "dense_descriptor")
    assert [line.split(":")[0] for line in told.err.splitlines() if line.startswith("bringing")] == [
        "bringing sd15",
        "bringing dinov2_vitb14",
        "bringing dino_vits8",
    ]
    assert told.code == ExitCode.PROBLEM
    assert told.out.startswith("dino_vits8 ")
    assert "needs no weights" in command("pull", "dense_descriptor").err


def test_an_unknown_name_is_wrong_usage(command: Command) -> None:
    told = command("pull", "dinov2_vitb14_rge")
    assert told.code == ExitCode.USAGE
    assert "did you mean 'dinov2_vitb14_reg'?" in told.err
    assert command("verify", "--", "--json").code == ExitCode.USAGE


def test_the_exit_code_tells_what_stood_in_the_way(command: Command) -> None:
    command.hub.repositories[PINNED] = Repository({"model.safetensors": CONTENT})
    other = command("pull", "dinov2_vits14")
    assert (other.code, "catalogue pins" in other.err) == (ExitCode.GAVE_UP, True)
    command.hub.repositories[UNPINNED].refusal = (401, "GatedRepo")
    gated = command("pull", "dino_vits8")
    assert (gated.code, "HF_TOKEN" in gated.err) == (ExitCode.PROBLEM, True)
    gone = command("pull", "dino_vits8", HF_ENDPOINT="http://127.0.0.1:9")
    assert (gone.code, "no answer from http://127.0.0.1:9" in gone.err) == (ExitCode.UNREACHABLE, True)
    assert list(command.folder.glob("dino*")) == []


def test_without_leave_to_download_the_hub_is_not_asked(command: Command) -> None:
    told = command("pull", "dino_vits8", CONGEAL_WEIGHTS_DOWNLOAD="0")
    assert (told.code, "CONGEAL_WEIGHTS_DOWNLOAD=0" in told.err) == (ExitCode.USAGE, True)
    assert command.hub.downloads == []
    command("pull", "dino_vits8")
    assert command("pull", "dino_vits8", CONGEAL_WEIGHTS_DOWNLOAD="0").code == 0


def test_without_a_weights_folder_the_hubs_cache_is_filled(command: Command) -> None:
    told = command("pull", "dino_vits8", CONGEAL_WEIGHTS_DIR="")
    assert told.code == 0
    assert str(command.folder.parent / "home/hub/models--timm--vit_small_patch8_224.dino/snapshots") in told.out
    verified = command("verify", CONGEAL_WEIGHTS_DIR="")
    assert "the hub's cache" in verified.out


def test_wrong_settings_are_told(command: Command) -> None:
    told = command("list", CONGEAL_BACKBONES="resnet")
    assert (told.code, "backbones: " in told.err) == (ExitCode.USAGE, True)


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Let children hear SIGINT where this process was told to ignore it, as a shell does in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
def test_an_interrupt_ends_it_and_leaves_nothing(command: Command) -> None:
    arrived, opened = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        opened.wait(PATIENCE_S)

    command.hub.repositories[UNPINNED].on_half = wait
    process = command.start("pull", "dino_vits8")
    assert arrived.wait(PATIENCE_S)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    opened.set()
    assert process.returncode == ExitCode.INTERRUPTED
    assert err.endswith("interrupted\n")
    assert not list(command.folder.rglob("*.incomplete"))


def test_without_the_workers_part_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.commands.running.find_spec", lambda _: None)
    told = CliRunner().invoke(app, ["weights", "list"])
    assert told.exit_code == ExitCode.GAVE_UP
    assert "pip install 'congeal[worker]'" in told.stderr


def test_exit_codes_are_those_of_all_commands() -> None:
    ours = {code.name: code.value for code in WorkersExitCode}
    renamed = {"REFUSED": "PROBLEM"}
    assert all(ExitCode[renamed.get(name, name)].value == value for name, value in ours.items())
