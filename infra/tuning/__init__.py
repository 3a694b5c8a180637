"""Host tuning with pyinfra: topology -> plan -> apply -> audit."""
