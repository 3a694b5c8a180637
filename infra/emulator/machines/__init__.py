"""What stands behind a server: a real systemd host (nspawn), or nothing but its state (none)."""
