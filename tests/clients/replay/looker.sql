-- Looker: connection test, a persisted-table probe that is refused, explores.
SELECT 1;
SELECT version();
SELECT pg_backend_pid();
SHOW server_version_num;
-- refused: 0A000
CREATE TEMPORARY TABLE looker_probe (id INT);
SELECT (TO_CHAR(DATE_TRUNC('month', person_week.week_start ), 'YYYY-MM')) AS "person_week.week_month", COALESCE(SUM(person_week.meeting_hours ), 0) AS "person_week.total" FROM public.person_week AS person_week GROUP BY (DATE_TRUNC('month', person_week.week_start )) ORDER BY 1 DESC FETCH NEXT 500 ROWS ONLY;
SELECT (DATE(person_week.week_start )) AS "person_week.week_date", COUNT(*) AS "person_week.count" FROM public.person_week AS person_week GROUP BY 1 ORDER BY 1 DESC FETCH NEXT 500 ROWS ONLY;
SELECT person.function AS "person.function", AVG(person_week.after_hours ) AS "person_week.average", COUNT(DISTINCT person.person_id ) AS "person.count" FROM public.person_week AS person_week LEFT JOIN public.person AS person ON person_week.person_id = person.person_id WHERE ((( person_week.week_start ) >= ((DATE_TRUNC('day', DATE '2024-02-01'))) AND ( person_week.week_start ) < ((DATE_TRUNC('day', TIMESTAMP '2024-05-01'))))) GROUP BY 1 HAVING (COUNT(DISTINCT person.person_id ) > 100) ORDER BY 2 DESC FETCH NEXT 500 ROWS ONLY;
SELECT DISTINCT person.country FROM public.person AS person ORDER BY 1 FETCH NEXT 1000 ROWS ONLY;
