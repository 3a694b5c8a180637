"""First-boot data of a host, as cloud-init's NoCloud source reads it from the disk, and its stable identity."""

import json
import uuid
from pathlib import Path

import yaml

from infra.emulator.addresses import PUBLIC_GATEWAY
from infra.emulator.machines.base import MachineSpec

SEED = "var/lib/cloud/seed/nocloud"
# Makes a machine id of a server id that no other kind of machine has.
_NAMESPACE = uuid.UUID("5c3e0c62-6c0e-4f0a-9a55-0b2a7f1d9e34")


def write(upper: Path, spec: MachineSpec, instance: str) -> None:
    """Into the machine's own layer of the disk. Only at creation: what the host makes of it later is its own."""
    folder = upper / SEED
    folder.mkdir(parents=True)
    (folder / "meta-data").write_text(
        json.dumps(
            {
                "instance-id": f"hcloud-{spec.id}",
                "local-hostname": spec.name,
                "public-keys": list(spec.authorized_keys),
            }
        )
    )
    # Verbatim: what Hetzner hands to cloud-init untouched is handed on untouched.
    (folder / "user-data").write_text(spec.user_data if spec.user_data is not None else "#cloud-config\n{}\n")
    (folder / "user-data").chmod(0o600)
    (folder / "network-config").write_text(yaml.safe_dump(network_config(spec)))
    etc = upper / "etc"
    etc.mkdir()
    # With an id from the start systemd does not take the boot for a first one, and leaves the image's units alone.
    (etc / "machine-id").write_text(uuid.uuid5(_NAMESPACE, f"{instance}/{spec.id}").hex + "\n")


def network_config(spec: MachineSpec) -> dict[str, object]:
    addresses = [a for a in (spec.public_ipv4, spec.public_ipv6) if a]
    public: dict[str, object] = {"addresses": addresses} if addresses else {"optional": True}
    if spec.public_ipv4:
        public["routes"] = [{"to": "0.0.0.0/0", "via": str(PUBLIC_GATEWAY)}]
    return {"version": 2, "ethernets": {"host0": public}}
