-- Tableau (its PostgreSQL connector: JDBC since 2020, psqlodbc before): connect, browse, extract, filter lists, charts.
SET extra_float_digits = 3;
SET application_name = 'Tableau';
SELECT current_database(), current_schema();
SHOW server_version;
select n.nspname, c.relname, c.relkind from pg_catalog.pg_class c, pg_catalog.pg_namespace n where relkind in ('r','v','f','m','p') and nspname not in ('pg_catalog','information_schema','pg_toast','pg_temp_1') and n.oid = relnamespace order by nspname, relname;
select n.nspname, c.relname, a.attname, a.atttypid, t.typname, a.attnum, a.attlen, a.atttypmod, a.attnotnull, c.relhasrules, c.relkind, c.oid, pg_get_expr(d.adbin, d.adrelid), case t.typtype when 'd' then t.typbasetype else 0 end, t.typtypmod, 0, attidentity, c.relhassubclass from (((pg_catalog.pg_class c inner join pg_catalog.pg_namespace n on n.oid = c.relnamespace and c.relname = 'person_week' and n.nspname = 'public') inner join pg_catalog.pg_attribute a on (not a.attisdropped) and a.attnum > 0 and a.attrelid = c.oid) inner join pg_catalog.pg_type t on t.oid = a.atttypid) left outer join pg_attrdef d on a.atthasdef and d.adrelid = a.attrelid and d.adnum = a.attnum order by n.nspname, c.relname, attnum;
select ta.attname, ia.attnum, ic.relname, n.nspname, tc.relname from pg_catalog.pg_attribute ta, pg_catalog.pg_attribute ia, pg_catalog.pg_class tc, pg_catalog.pg_index i, pg_catalog.pg_namespace n, pg_catalog.pg_class ic where tc.relname = 'person' AND n.nspname = 'public' AND tc.oid = i.indrelid AND n.oid = tc.relnamespace AND i.indisprimary = 't' AND ia.attrelid = i.indexrelid AND ta.attrelid = i.indrelid AND ta.attnum = i.indkey[ia.attnum-1] AND (NOT ta.attisdropped) AND (NOT ia.attisdropped) AND ic.oid = i.indexrelid order by ia.attnum;
-- a probe for column types: runs nothing and costs nothing
SELECT * FROM (SELECT function, count(*) AS persons FROM person GROUP BY function) "Custom SQL Query" LIMIT 0;
SELECT * FROM (SELECT function, count(*) AS persons FROM person GROUP BY function) "Custom SQL Query" WHERE 1=0;
-- a chart
BEGIN;
declare "SQL_CUR0x7fd83880dc00" cursor with hold for SELECT "person"."function" AS "function", AVG("person_week"."after_hours") AS "avg:after_hours:ok", SUM(1) AS "sum:Number of Records:ok" FROM "public"."person" "person" INNER JOIN "public"."person_week" "person_week" ON ("person"."person_id" = "person_week"."person_id") GROUP BY 1;
fetch 10000 in "SQL_CUR0x7fd83880dc00";
close "SQL_CUR0x7fd83880dc00";
COMMIT;
-- a date part, a grain and a bin
SELECT CAST(EXTRACT(YEAR FROM "person_week"."week_start") AS BIGINT) AS "yr:week_start:ok", AVG("person_week"."meeting_hours") AS "avg:meeting_hours:ok" FROM "public"."person_week" "person_week" GROUP BY 1;
SELECT DATE_TRUNC( 'MONTH', CAST("person_week"."week_start" AS TIMESTAMP) ) AS "tmn:week_start:ok", AVG("person_week"."meeting_hours") AS "avg:meeting_hours:ok" FROM "public"."person_week" "person_week" GROUP BY 1;
SELECT (CASE WHEN ("person"."level" IN (1, 2)) THEN 'junior' ELSE 'other' END) AS "Group", COUNT(DISTINCT "person"."person_id") AS "ctd:person_id:ok" FROM "public"."person" "person" GROUP BY 1 HAVING (COUNT(1) > 0);
-- filter list
SELECT "person"."country" AS "country" FROM "public"."person" "person" GROUP BY 1 ORDER BY 1 ASC NULLS FIRST;
-- may it have temporary tables? Refused, it works without
-- refused: 0A000
CREATE LOCAL TEMPORARY TABLE "#Tableau_7_1_Connect" ("COL" INTEGER) ON COMMIT PRESERVE ROWS;
-- refused: 42501
DROP TABLE "#Tableau_7_1_Connect";
SELECT "SUBQUERY"."COL" AS "COL" FROM (SELECT 1 AS "COL") "SUBQUERY" LIMIT 1;
-- a range of dates, a quarter, smallest and largest
SELECT CAST(TRUNC(EXTRACT(QUARTER FROM "person_week"."week_start")) AS INTEGER) AS "qr:week_start:ok", SUM(1) AS "sum:n:ok" FROM "public"."person_week" "person_week" WHERE ("person_week"."week_start" >= (DATE '2024-01-01')) AND ("person_week"."week_start" < (TIMESTAMP '2024-07-01 00:00:00.000')) GROUP BY 1;
SELECT (DATE_TRUNC('DAY', CAST("person_week"."week_start" AS DATE))) AS "tdy:week_start:ok", MIN("person_week"."meeting_hours") AS "min:meeting_hours:ok", MAX("person_week"."meeting_hours") AS "max:meeting_hours:ok" FROM "public"."person_week" "person_week" GROUP BY 1;
SELECT TO_CHAR("person_week"."week_start", 'YYYY-MM') AS "Month", COUNT(DISTINCT "person_week"."person_id") AS "ctd:person_id:ok" FROM "public"."person_week" "person_week" WHERE "person_week"."week_start" >= TO_DATE('2024-03-01', 'YYYY-MM-DD') GROUP BY 1;
