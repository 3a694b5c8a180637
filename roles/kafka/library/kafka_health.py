#!/usr/bin/python
"""Ansible module: wait until a Kafka cluster is whole, and say what is missing when it does not become so.

Whole: the brokers are registered, every partition has a leader and every copy of it is in step.
"""

import time

from ansible.module_utils.basic import AnsibleModule

try:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient
except ImportError:
    AdminClient = None

DOCUMENTATION = """
module: kafka_health
short_description: Wait until a Kafka cluster is whole
options:
  bootstrap_servers: {description: Brokers to ask., type: str, required: true}
  brokers: {description: How many brokers there must be., type: int, required: true}
  topics: {description: Topics that must be there., type: list, elements: str, default: []}
  timeout_s: {description: How long to wait., type: int, default: 60}
"""


def missing(metadata, brokers, topics):
    """What keeps the cluster from being whole; empty when nothing does."""
    reasons = []
    if len(metadata.brokers) < brokers:
        reasons.append(f"{len(metadata.brokers)} of {brokers} brokers are registered")
    absent = sorted(set(topics) - set(metadata.topics))
    if absent:
        reasons.append(f"no topic {', '.join(absent)}")
    for name, topic in sorted(metadata.topics.items()):
        for number, partition in sorted(topic.partitions.items()):
            if partition.leader < 0:
                reasons.append(f"{name}-{number} has no leader")
            elif len(partition.isrs) < len(partition.replicas):
                reasons.append(f"{name}-{number} has {len(partition.isrs)} of {len(partition.replicas)} copies in step")
    return reasons


def main():
    module = AnsibleModule(
        argument_spec={
            "bootstrap_servers": {"type": "str", "required": True},
            "brokers": {"type": "int", "required": True},
            "topics": {"type": "list", "elements": "str", "default": []},
            "timeout_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if AdminClient is None:
        module.fail_json(msg="python3-confluent-kafka is not installed on this host: run the role's install tasks")
    servers = module.params["bootstrap_servers"]
    client = AdminClient({"bootstrap.servers": servers, "log_level": 0, "reconnect.backoff.max.ms": 500})
    started = time.monotonic()
    reasons = ["it was never asked"]
    while time.monotonic() - started < module.params["timeout_s"]:
        try:
            metadata = client.list_topics(timeout=5)
        except KafkaException as error:
            reasons = [error.args[0].str()]
        else:
            reasons = missing(metadata, module.params["brokers"], module.params["topics"])
            if not reasons:
                module.exit_json(changed=False, brokers=sorted(metadata.brokers), topics=len(metadata.topics))
        time.sleep(0.5)
    more = f" and {len(reasons) - 5} more" if len(reasons) > 5 else ""
    module.fail_json(
        msg=f"Kafka at {servers} is not whole after {module.params['timeout_s']} s: {'; '.join(reasons[:5])}{more}. "
        "See journalctl -u kafka"
    )


if __name__ == "__main__":
    main()
