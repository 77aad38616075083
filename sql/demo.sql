-- What the administrator of the demo says to a fresh server. The files lie in the server's data folder.
-- Nothing is readable until it is classified, so every column gets a class.

CREATE EXTERNAL TABLE person      STORED AS PARQUET LOCATION 'company/person.parquet';
CREATE EXTERNAL TABLE person_week STORED AS PARQUET LOCATION 'company/person_week.parquet';
CREATE EXTERNAL TABLE email       STORED AS PARQUET LOCATION 'company/email.parquet';

-- Declared keys are checked against the data. They prove "one row a person", which makes queries cheaper and answers better.
ALTER TABLE person      ADD PRIMARY KEY (person_id);
ALTER TABLE person_week ADD PRIMARY KEY (person_id, week);

-- Whose rows these are. One policy: its tables share a privacy budget.
ALTER TABLE person      SET (privacy_policy = 'people', person_key = 'person_id');
ALTER TABLE person_week SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 53);
-- An e-mail belongs to who sent it. Forty-nine senders in fifty wrote fewer than 500; more than that do not count.
ALTER TABLE email       SET (privacy_policy = 'people', person_key = 'sender_id', max_rows_per_person = 500);

ALTER TABLE person ALTER COLUMN person_id  SET (class = 'identifier');
ALTER TABLE person ALTER COLUMN email      SET (class = 'identifier');
ALTER TABLE person ALTER COLUMN name       SET (class = 'identifier');
ALTER TABLE person ALTER COLUMN manager_id SET (class = 'identifier');
ALTER TABLE person ALTER COLUMN function   SET (class = 'attribute');
ALTER TABLE person ALTER COLUMN level      SET (class = 'attribute');
ALTER TABLE person ALTER COLUMN title      SET (class = 'attribute');
ALTER TABLE person ALTER COLUMN country    SET (class = 'attribute');
ALTER TABLE person ALTER COLUMN city       SET (class = 'attribute');
ALTER TABLE person ALTER COLUMN org        SET (class = 'attribute');
ALTER TABLE person ALTER COLUMN hired      SET (class = 'attribute');

ALTER TABLE person_week ALTER COLUMN person_id     SET (class = 'identifier');
ALTER TABLE person_week ALTER COLUMN week          SET (class = 'attribute');
ALTER TABLE person_week ALTER COLUMN week_start    SET (class = 'attribute');
ALTER TABLE person_week ALTER COLUMN email_hours   SET (class = 'measure', lower = 0, upper = 40);
ALTER TABLE person_week ALTER COLUMN meeting_hours SET (class = 'measure', lower = 0, upper = 60);
ALTER TABLE person_week ALTER COLUMN after_hours   SET (class = 'measure', lower = 0, upper = 20);
ALTER TABLE person_week ALTER COLUMN focus_hours   SET (class = 'measure', lower = 0, upper = 40);
ALTER TABLE person_week ALTER COLUMN call_hours    SET (class = 'measure', lower = 0, upper = 20);
ALTER TABLE person_week ALTER COLUMN email_count   SET (class = 'measure', lower = 0, upper = 500);
ALTER TABLE person_week ALTER COLUMN chat_count    SET (class = 'measure', lower = 0, upper = 500);

ALTER TABLE email ALTER COLUMN sender_id    SET (class = 'identifier');
ALTER TABLE email ALTER COLUMN recipient_id SET (class = 'identifier');
ALTER TABLE email ALTER COLUMN sent_at      SET (class = 'attribute');
ALTER TABLE email ALTER COLUMN recipients   SET (class = 'measure', lower = 1, upper = 20);
ALTER TABLE email ALTER COLUMN reply        SET (class = 'measure');

-- A budget for an afternoon of trying things: about ninety questions at epsilon 1. For real people, stay with the default.
ALTER SYSTEM SET privacy.budget_epsilon = 100;
ALTER SYSTEM SET privacy.principal_budget_epsilon = 100;

GRANT SELECT ON person, person_week, email TO insights_analyst;

CREATE ROLE auditor_1 LOGIN PASSWORD 'auditor';
GRANT auditor TO auditor_1;
CREATE ROLE analyst_1 LOGIN PASSWORD 'analyst';
GRANT insights_analyst TO analyst_1;
