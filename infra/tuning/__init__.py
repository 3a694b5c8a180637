"""Host tuning below the services: topology -> plan -> apply -> audit. `python -m infra.tuning apply|audit`."""
