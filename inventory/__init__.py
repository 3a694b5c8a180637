"""One inventory for Ansible, pyinfra, testinfra and plain ssh, from the outputs of a Pulumi stack."""
