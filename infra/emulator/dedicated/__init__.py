"""Machines behind the emulated dedicated servers: disks, a rescue system with installimage, vSwitches, a firewall.

`storage`, `layout`, `tools` and `installimage` also run inside the rescue system, where nothing but Python's standard
library is; so does `infra.emulator.robot.autosetup`.
"""
