-- Raw data: what the venues said and what we did.
CREATE DATABASE IF NOT EXISTS hft_data
