-- Records that could not be decoded, kept whole: one bad record never stops a partition.
CREATE TABLE IF NOT EXISTS hft_data.dead_letters
(
    kafka_topic     LowCardinality(String),
    kafka_partition UInt16,
    kafka_offset    Int64,
    seen_at         DateTime64(3, 'UTC') DEFAULT now64(3),
    error           String CODEC(ZSTD(1)),
    payload         String CODEC(ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
TTL toDateTime(seen_at) + INTERVAL 30 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000
