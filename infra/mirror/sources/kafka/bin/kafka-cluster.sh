#!/bin/sh
# Show the cluster id; unregister a broker.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.ClusterTool "$@"
