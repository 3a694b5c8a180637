"""How the verbs run site.yml: the environment's own ansible-playbook, its modules kept loaded on every host."""

import os
from importlib.util import find_spec
from pathlib import Path

from infra.paths import repo_root


def command(*args: str) -> list[str]:
    """The command line of a run of site.yml, for the repository's root as working directory."""
    return [str(_programs() / "ansible-playbook"), "site.yml", *args]


def environment(stack: str) -> dict[str, str]:
    """What a run needs beside the environment that it inherits.

    Mitogen's strategy keeps one interpreter a host for the whole run, where Ansible starts one for each task: half the
    time of a site with many small tasks. It is third-party, about which Ansible warns at every run; runs by hand and
    molecule's use Ansible's own `linear`, so every task is tried with both. A strategy named by the caller stays.
    """
    env = {"BARETICK_STACK": stack, "PATH": f"{_programs()}:{os.environ['PATH']}"}
    mitogen = find_spec("ansible_mitogen")
    if "ANSIBLE_STRATEGY" not in os.environ and mitogen is not None and mitogen.origin is not None:
        env["ANSIBLE_STRATEGY"] = "mitogen_linear"
        env["ANSIBLE_STRATEGY_PLUGINS"] = str(Path(mitogen.origin).parent / "plugins" / "strategy")
        env["ANSIBLE_DEPRECATION_WARNINGS"] = "False"
    return env


def _programs() -> Path:
    return repo_root() / ".venv" / "bin"
