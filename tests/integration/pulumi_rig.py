"""The clone's Pulumi program in a folder of its own: own state, own stack, own emulator."""

import os
import re
import subprocess
from pathlib import Path

from infra.paths import state_dir

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"


class Project:
    """The program for one stack, as a person runs it by hand."""

    def __init__(self, folder: Path, stack: str) -> None:
        self.folder = folder
        self.stack = stack
        (folder / "Pulumi.yaml").write_text(
            (ROOT / "Pulumi.yaml").read_text().replace("main: infra/", f"main: {ROOT}/infra/")
        )
        (folder / "state").mkdir()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HCLOUD_", "PULUMI_"))},
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE": "of this test alone",
            "BARETICK_STACK": stack,
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def describe(self, stack: str, text: str) -> None:
        (self.folder / f"Pulumi.{stack}.yaml").write_text(text)
        self.pulumi("stack", "init", stack)

    def pulumi(self, *args: str, ok: bool = True, interactive: bool = False, **more: str) -> str:
        """`cancel` knows no --non-interactive."""
        options = () if interactive else ("--non-interactive",)
        result = subprocess.run(
            [BIN / "pulumi", *args, *options, "--color", "never"],
            cwd=self.folder,
            env=self.environment | more,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        assert (result.returncode == 0) == ok, f"pulumi {' '.join(args)}: {result.returncode}\n{result.stdout[-4000:]}"
        return result.stdout

    def up(self, *args: str, ok: bool = True) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", "--stack", self.stack, *args, ok=ok)

    def run(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv, cwd=ROOT, env=self.environment, text=True, capture_output=True, timeout=300, check=False
        )

    def ssh(self, host: str, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        return self.run("ssh", "-F", str(state_dir(self.stack) / "ssh_config"), *options, host, command)


def changes(shown: str) -> dict[str, int]:
    """The counts under "Resources:" of what pulumi printed."""
    counts = shown.rpartition("Resources:")[2].partition("Duration")[0]
    return {what: int(n) for n, what in re.findall(r"(\d+) ([a-z]+)", counts)}
