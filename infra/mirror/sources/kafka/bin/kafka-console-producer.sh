#!/bin/sh
# Send lines from standard input to a topic.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.ConsoleProducer "$@"
