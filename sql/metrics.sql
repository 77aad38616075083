-- Metrics of working life over the demo's tables, as an analyst would write them. A per-person metric is an ordinary
-- subquery that groups by the person; the question about people stands around it.

-- After-hours work by function: hours a person and week.
SELECT function, count(DISTINCT person_id) AS persons, avg(after_hours) AS after_hours
FROM person JOIN person_week USING (person_id)
GROUP BY function
ORDER BY after_hours DESC;

-- Meeting load: share of persons who met more than twenty hours in an average week.
SELECT function, share(meeting_hours > 20) AS in_meetings
FROM (
    SELECT person_id, function, avg(meeting_hours) AS meeting_hours
    FROM person JOIN person_week USING (person_id)
    GROUP BY person_id, function
) AS person_load
GROUP BY function
ORDER BY function;

-- Collaboration hours by country and level, large groups only.
SELECT country, level, count(DISTINCT person_id) AS persons, sum(email_hours) AS email_hours, sum(call_hours) AS call_hours
FROM person JOIN person_week USING (person_id)
GROUP BY country, level
HAVING count(DISTINCT person_id) >= 200
ORDER BY country, level;

-- Mails sent a month.
SELECT date_trunc('month', sent_at) AS month, count(*) AS mails
FROM email
GROUP BY date_trunc('month', sent_at)
ORDER BY month;
