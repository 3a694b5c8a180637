"""What a new server is told by cloud-init: its name, its host key, and that nobody logs in with a password."""

import yaml


class _Block(str):
    """A string that YAML writes as a literal block, as a key is read by people."""


def _block(dumper: yaml.SafeDumper, value: _Block) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style="|")


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Block, _block)


def render(host: str, private_key: str, public_key: str) -> str:
    """A cloud-config. Everything else about the host is Ansible's: it can be changed on a server that runs."""
    document = {
        "hostname": host,
        "preserve_hostname": False,
        "disable_root": False,
        "ssh_pwauth": False,
        # Keys that the image was built with are no secret: only the pinned one stays.
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519"],
        "ssh_keys": {"ed25519_private": _Block(private_key), "ed25519_public": public_key},
        "package_update": False,
        "package_upgrade": False,
    }
    return "#cloud-config\n" + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=4096)
