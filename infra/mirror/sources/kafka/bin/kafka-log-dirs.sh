#!/bin/sh
# Show how much each log folder holds.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.LogDirsCommand "$@"
