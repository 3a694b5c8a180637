"""Provisioning, tuning and artefacts of a site, as code. Never imports the app."""
