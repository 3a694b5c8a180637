#!/bin/sh
# Show and raise feature levels.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.FeatureCommand "$@"
