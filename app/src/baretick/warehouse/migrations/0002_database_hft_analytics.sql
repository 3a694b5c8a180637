-- What is computed from raw data.
CREATE DATABASE IF NOT EXISTS hft_analytics
