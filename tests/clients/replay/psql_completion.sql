-- What psql 15 asks when Tab is pressed after: SELECT * FROM pe, \d pe, SET TimeZone, GRANT … TO, person(column), \df, DROP VIEW.
SELECT pg_catalog.quote_ident(c.relname), NULL::pg_catalog.text FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND (c.relname) LIKE 'pe%' AND pg_catalog.pg_table_is_visible(c.oid) AND c.relnamespace <> (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog')
UNION ALL
SELECT NULL::pg_catalog.text, n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname LIKE 'pe%' AND n.nspname NOT LIKE E'pg\\_%'
LIMIT 1000;
SELECT DISTINCT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n WHERE n.oid = c.relnamespace AND n.nspname = 'public' AND c.relname LIKE 'pe%' LIMIT 1000;
SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE E'pg\\_%' AND nspname LIKE 'pu%' LIMIT 1000;
SELECT attname FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c WHERE c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped AND (attname) LIKE 'f%' AND (c.relname) = 'person' AND pg_catalog.pg_table_is_visible(c.oid) LIMIT 1000;
SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE context IN ('user', 'superuser') AND pg_catalog.lower(name) LIKE pg_catalog.lower('ti%') LIMIT 1000;
SELECT pg_catalog.quote_literal(value) FROM (SELECT pg_catalog.unnest(enumvals) AS value FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = 'datestyle') ss LIMIT 1000;
SELECT rolname FROM pg_catalog.pg_roles WHERE rolname LIKE 'an%' LIMIT 1000;
SELECT datname FROM pg_catalog.pg_database WHERE datname LIKE 'pa%' LIMIT 1000;
SELECT p.proname, NULL::pg_catalog.text FROM pg_catalog.pg_proc p WHERE (p.proname) LIKE 'lo%' AND pg_catalog.pg_function_is_visible(p.oid) AND p.pronamespace <> (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pg_catalog') LIMIT 1000;
SELECT t.typname, NULL::pg_catalog.text FROM pg_catalog.pg_type t WHERE (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)) AND t.typname !~ '^_' AND (t.typname) LIKE 'in%' AND pg_catalog.pg_type_is_visible(t.oid) LIMIT 1000;
SELECT name FROM pg_catalog.pg_cursors WHERE name LIKE 'c%' LIMIT 1000;
SELECT name FROM pg_catalog.pg_prepared_statements WHERE name LIKE 'c%' LIMIT 1000;
SELECT name FROM pg_catalog.pg_available_extensions WHERE name LIKE 'c%' LIMIT 1000;
SELECT extname FROM pg_catalog.pg_extension WHERE extname LIKE 'c%' LIMIT 1000;
SELECT conname FROM pg_catalog.pg_constraint c WHERE c.conrelid <> 0 AND c.conname LIKE 'p%' LIMIT 1000;
SELECT pg_catalog.quote_ident(channel) FROM pg_catalog.pg_listening_channels() AS channel WHERE channel LIKE 'c%' LIMIT 1000;
SELECT word FROM pg_catalog.pg_get_keywords() WHERE word LIKE 'sel%' LIMIT 1000;
