"""Hetzner in a box: the hcloud API on loopback, and a real systemd host behind every server it creates."""
