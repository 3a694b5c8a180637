-- Bars by minute, finished: what people and dashboards read.
CREATE VIEW IF NOT EXISTS hft_analytics.ohlc_1m AS
SELECT
    session,
    venue,
    symbol,
    bucket,
    argMinMerge(agg.open) AS open,
    max(agg.high) AS high,
    min(agg.low) AS low,
    argMaxMerge(agg.close) AS close,
    sum(agg.volume) AS volume,
    sum(agg.buy_volume) AS buy_volume,
    sum(agg.notional) AS notional,
    sum(agg.trades) AS trades
FROM hft_analytics.agg_1m AS agg
GROUP BY session, venue, symbol, bucket
