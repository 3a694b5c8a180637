"""What the base image has beyond Debian's packages: files, masked units, files that must be empty."""

FILES = {
    "etc/apt/apt.conf.d/90-site-proxy": (
        "// The site's pull-through cache, on the gateway: hosts have no other way out.\n"
        'Acquire::http::Proxy "http://198.51.100.1:3142";\n'
        'Acquire::https::Proxy "http://198.51.100.1:3142";\n'
        'Acquire::Languages "none";\n'
    ),
    # A host that is lost is made anew: packages need not be flushed to disk file by file.
    "etc/dpkg/dpkg.cfg.d/90-site": "force-unsafe-io\n",
    # Hetzner's images log root in with the account's keys and have no other user.
    "etc/cloud/cloud.cfg.d/90-site.cfg": (
        "datasource_list: [NoCloud, None]\n"
        "disable_root: false\n"
        "users: []\n"
        "ssh_pwauth: false\n"
        "ssh_deletekeys: true\n"
        "ssh_genkeytypes: [ed25519]\n"
        # One line of /etc/hosts, so that a host can look up its own name.
        "manage_etc_hosts: localhost\n"
        # Left out of Debian's lists: what needs a disk, a boot loader, a kernel or the internet.
        "cloud_init_modules:\n"
        "  [seed_random, bootcmd, write-files, set_hostname, update_hostname, update_etc_hosts, ca-certs,\n"
        "   users-groups, ssh]\n"
        "cloud_config_modules: [locale, set-passwords, apt-configure, timezone, runcmd]\n"
        "cloud_final_modules:\n"
        "  [package-update-upgrade-install, write-files-deferred, scripts-per-once, scripts-per-boot,\n"
        "   scripts-per-instance, scripts-user, final-message, power-state-change]\n"
    ),
    # Only the pinned key is offered; a client never sees one that it was not told of.
    "etc/ssh/sshd_config.d/50-site.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\n"
        "PermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\n"
        "UseDNS no\n"
        # Ansible, pyinfra and testinfra may all knock at once.
        "MaxStartups 60:30:120\n"
    ),
    # Private interfaces are given their addresses from outside, as a cloud does.
    "etc/systemd/network/05-private.network": "[Match]\nName=enp*\n\n[Link]\nUnmanaged=yes\n",
    "etc/fstab": "# The root file system is mounted from outside.\n",
}

# Units that wait for hardware, for the internet or for a console that a container has not.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "cloud-init-hotplugd.socket",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "getty@tty1.service",
    "sshd-keygen.service",
    "systemd-firstboot.service",
    "systemd-networkd-wait-online.service",
    "systemd-pstore.service",
    "systemd-resolved.service",
)

EMPTIED = ("etc/resolv.conf", "etc/machine-id")
