#!/usr/bin/python
"""Ansible module: topics as code, through the broker's own admin protocol instead of one JVM a question.

Makes what is missing, adds partitions, sets the topic's configuration to exactly what is declared. Never deletes a
topic or a partition, never moves replicas: it says what it would take instead.
"""

from ansible.module_utils.basic import AnsibleModule

try:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
except ImportError:
    AdminClient = None

DOCUMENTATION = """
module: kafka_topics
short_description: Keep topics as declared
options:
  bootstrap_servers: {description: Brokers to ask., type: str, required: true}
  topics:
    description: "Topics: name, partitions, config, and replication_factor where it differs."
    type: list
    elements: dict
    required: true
  replication_factor: {description: Copies of topics that do not say., type: int, required: true}
  timeout_s: {description: How long one question may take., type: int, default: 30}
"""

DYNAMIC_TOPIC_CONFIG = 1  # a value that was set for the topic itself, rather than inherited


def text(value):
    """A setting as Kafka writes it: YAML's true is its `true`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Topics:
    def __init__(self, module):
        self.module = module
        self.timeout = module.params["timeout_s"]
        self.admin = AdminClient(
            {
                "bootstrap.servers": module.params["bootstrap_servers"],
                "socket.timeout.ms": self.timeout * 1000,
                "log_level": 0,
            }
        )

    def wanted(self):
        topics = {}
        for topic in self.module.params["topics"]:
            unknown = sorted(set(topic) - {"name", "partitions", "replication_factor", "config"})
            if unknown or "name" not in topic:
                self.module.fail_json(msg=f"topic {topic.get('name', topic)}: unknown key {', '.join(unknown)}")
            topics[topic["name"]] = {
                "partitions": int(topic.get("partitions", 1)),
                "replication_factor": int(topic.get("replication_factor", self.module.params["replication_factor"])),
                "config": {key: text(value) for key, value in (topic.get("config") or {}).items()},
            }
        return topics

    def found(self, names):
        topics = {}
        metadata = self.admin.list_topics(timeout=self.timeout).topics
        for name in names:
            if name in metadata:
                partitions = metadata[name].partitions
                topics[name] = {
                    "partitions": len(partitions),
                    "replication_factor": min(len(p.replicas) for p in partitions.values()),
                    "config": {},
                }
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics]
        if resources:
            for resource, future in self.admin.describe_configs(resources, request_timeout=self.timeout).items():
                topics[resource.name]["config"] = {
                    entry.name: entry.value
                    for entry in future.result().values()
                    if int(entry.source) == DYNAMIC_TOPIC_CONFIG
                }
        return topics

    def plan(self, wanted, found):
        """What to do, or why it can't be done."""
        refused, steps = [], {"create": [], "grow": [], "configure": []}
        for name, want in wanted.items():
            have = found.get(name)
            if have is None:
                steps["create"].append(name)
                continue
            if want["partitions"] < have["partitions"]:
                refused.append(
                    f"{name} has {have['partitions']} partitions and {want['partitions']} are declared: partitions "
                    "can't be taken away. Declare what there is, or make a new topic"
                )
            if want["replication_factor"] != have["replication_factor"]:
                refused.append(
                    f"{name} has {have['replication_factor']} copies and {want['replication_factor']} are declared: "
                    "move them with kafka-reassign-partitions.sh first"
                )
            if want["partitions"] > have["partitions"]:
                steps["grow"].append(name)
            if want["config"] != have["config"]:
                steps["configure"].append(name)
        if refused:
            self.module.fail_json(msg="; ".join(refused))
        return steps

    def apply(self, steps, wanted):
        options = {"request_timeout": self.timeout, "operation_timeout": self.timeout}
        if steps["create"]:
            new = [
                NewTopic(
                    name,
                    num_partitions=wanted[name]["partitions"],
                    replication_factor=wanted[name]["replication_factor"],
                    config=wanted[name]["config"],
                )
                for name in steps["create"]
            ]
            self.wait("create", self.admin.create_topics(new, **options))
        if steps["grow"]:
            more = [NewPartitions(name, wanted[name]["partitions"]) for name in steps["grow"]]
            self.wait("grow", self.admin.create_partitions(more, **options))
        for name in steps["configure"]:
            resource = ConfigResource(ConfigResource.Type.TOPIC, name, set_config=wanted[name]["config"])
            self.wait("configure", self.admin.alter_configs([resource], request_timeout=self.timeout))

    def wait(self, verb, futures):
        for what, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                self.module.fail_json(msg=f"cannot {verb} {getattr(what, 'name', what)}: {error.args[0].str()}")


def main():
    module = AnsibleModule(
        argument_spec={
            "bootstrap_servers": {"type": "str", "required": True},
            "topics": {"type": "list", "elements": "dict", "required": True},
            "replication_factor": {"type": "int", "required": True},
            "timeout_s": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    if AdminClient is None:
        module.fail_json(msg="python3-confluent-kafka is not installed on this host: run the role's install tasks")
    topics = Topics(module)
    wanted = topics.wanted()
    try:
        found = topics.found(wanted)
        steps = topics.plan(wanted, found)
        changed = any(steps.values())
        if changed and not module.check_mode:
            topics.apply(steps, wanted)
    except KafkaException as error:
        module.fail_json(msg=f"{module.params['bootstrap_servers']}: {error.args[0].str()}")
    result = {"changed": changed, **steps}
    if module._diff:
        result["diff"] = {"before": {name: found.get(name) for name in wanted}, "after": wanted}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
