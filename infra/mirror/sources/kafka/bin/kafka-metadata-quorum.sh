#!/bin/sh
# Show the state of the metadata quorum.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.MetadataQuorumCommand "$@"
