-- Fills agg_1m from every insert into raw_ticks; an insert that is deduplicated there is deduplicated here too.
CREATE MATERIALIZED VIEW IF NOT EXISTS hft_analytics.mv_agg_1m TO hft_analytics.agg_1m AS
SELECT
    session,
    venue,
    symbol,
    toStartOfMinute(toDateTime(exch_ts, 'UTC')) AS bucket,
    argMinState(price, (exch_ts, trade_id)) AS open,
    max(price) AS high,
    min(price) AS low,
    argMaxState(price, (exch_ts, trade_id)) AS close,
    sum(qty) AS volume,
    sumIf(qty, side = 'buy') AS buy_volume,
    sum(toDecimal128(price, 10) * toDecimal128(qty, 8)) AS notional,
    count() AS trades,
    max(recv_ts) AS last_recv_ts
FROM hft_data.raw_ticks
WHERE event = 'trade'
GROUP BY session, venue, symbol, bucket
