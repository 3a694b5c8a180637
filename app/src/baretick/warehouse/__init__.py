"""The warehouse: ClickHouse schema, the way from Kafka into it, and the embedded server."""
