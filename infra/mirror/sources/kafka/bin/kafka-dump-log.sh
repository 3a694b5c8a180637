#!/bin/sh
# Print the contents of log segments.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" kafka.tools.DumpLogSegments "$@"
