#!/bin/sh
# Show which protocol versions the brokers speak.
exec "$(dirname "$(readlink -f "$0")")/kafka-run-class.sh" org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
