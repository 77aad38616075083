-- Grafana: health check, query builder, a time series.
SELECT 1;
SELECT quote_ident(table_name) as "table" FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information', 'timescaledb_experimental') AND table_type = 'BASE TABLE' AND quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1), array_upper(string_to_array(current_setting('search_path'),','),1)) as i, string_to_array(current_setting('search_path'),',') s);
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE quote_ident(table_name) = 'person_week' AND quote_ident(table_schema) = 'public';
SELECT current_setting('server_version_num')::int/100 as version;
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';
-- a panel: the macros $__timeGroupAlias and $__timeFilter written out
SELECT floor(extract(epoch from week_start)/2592000)*2592000 AS "time", avg(meeting_hours) AS "meetings" FROM person_week WHERE week_start BETWEEN '2024-01-01T00:00:00Z' AND '2030-06-30T23:59:59Z' GROUP BY 1 ORDER BY 1;
SELECT date_trunc('month', week_start) AS "time", function AS metric, avg(after_hours) AS value FROM person JOIN person_week USING (person_id) WHERE country IN ('DE','FR') GROUP BY 1, 2 ORDER BY 1, 2;
-- a variable
SELECT DISTINCT country FROM person;
-- the macros $__timeGroup, $__unixEpochFilter and $__timeFilter written out
SELECT floor(extract(epoch from week_start)/604800)*604800 AS "time", avg(meeting_hours) AS "meetings" FROM person_week WHERE week_start BETWEEN '2024-01-01T00:00:00Z' AND '2024-06-30T23:59:59.999Z' GROUP BY time ORDER BY time;
SELECT week_start AS "time", avg(meeting_hours) AS "meetings" FROM person_week WHERE extract(epoch from week_start) >= 1704067200 AND extract(epoch from week_start) <= 1719705600 GROUP BY 1 ORDER BY 1;
SELECT to_timestamp(floor(extract(epoch from week_start)/2592000)*2592000) AS "time", count(*) AS "value" FROM person_week WHERE week_start >= to_timestamp(1704067200) AND week_start < to_timestamp(1719705600) GROUP BY 1 ORDER BY 1 LIMIT 50;
