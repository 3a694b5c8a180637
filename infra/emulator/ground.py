"""What an instance has on this system beyond its files, and how all of it is taken away, daemon or no daemon."""

import signal
import time

from infra.emulator.children import end
from infra.emulator.instance import Instance
from infra.emulator.machines import cgroups, network
from infra.emulator.process import ProcessRef, read_ref

DAEMON_GRACE = 20.0


def stop_daemon(instance: Instance) -> None:
    if ref := read_ref(instance.daemon_ref):
        ref.stop(DAEMON_GRACE)
    instance.daemon_ref.unlink(missing_ok=True)


def clear(instance: Instance, grace: float) -> None:
    """Power the machines off in good order, all at once, then remove whatever is left of the instance's ground."""
    for ref_file in sorted(instance.run.glob("*.json")) if instance.run.is_dir() else []:
        if ref_file not in (instance.daemon_ref, instance.settings):
            end(ref_file)
    launchers = [ref for file in sorted(instance.machines.glob("*/launcher.json")) if (ref := read_ref(file))]
    for ref in launchers:
        ref.kill(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for ref in launchers:
        ref.wait(max(0.0, deadline - time.monotonic()))
    clear_remains(instance)
    for file in instance.machines.glob("*/launcher.json"):
        file.unlink()


def clear_remains(instance: Instance) -> None:
    if _of_another_clone(instance):
        return
    if cgroups.existing(instance.name):
        cgroups.kill(cgroups.instance(instance.name))
        cgroups.remove(cgroups.instance(instance.name))
    network.remove(instance.name)


def remains(instance: Instance) -> list[str]:
    """What of the instance still exists on this system."""
    found = []
    for file in [instance.daemon_ref, *instance.run.glob("*.json"), *instance.machines.glob("*/launcher.json")]:
        ref: ProcessRef | None = read_ref(file)
        if ref and file != instance.settings:
            found.append(f"process {ref.pid} ({file.stem})")
    if _of_another_clone(instance):
        return found
    found += [f"cgroup {group}" for group in cgroups.existing(instance.name)]
    if network.namespace_path(instance.name).exists():
        found.append(f"network namespace {network.namespace(instance.name)}")
    return sorted(set(found))


def _of_another_clone(instance: Instance) -> bool:
    """Whether the ground under this name is that of a clone which still exists: then it is not ours to take."""
    owner = cgroups.owner(instance.name)
    return owner is not None and owner != instance.folder and owner.exists()
