"""Hetzner's Robot webservice: a typed client, its budgets and errors, and the installation of dedicated servers."""
