-- Tables for the files under tests/slt, beside those of the demo.

CREATE EXTERNAL TABLE badge STORED AS CSV LOCATION 'badge.csv';
CREATE EXTERNAL TABLE door  STORED AS CSV LOCATION 'door.csv';
CREATE EXTERNAL TABLE gate  STORED AS CSV LOCATION 'gate.csv';
ALTER TABLE badge ADD PRIMARY KEY (badge_no);
ALTER TABLE badge ADD UNIQUE (person_id);
ALTER TABLE door  ADD PRIMARY KEY (badge_no, day);
ALTER TABLE gate  ADD PRIMARY KEY (gate);

ALTER TABLE gate  SET (public = true);
ALTER TABLE badge SET (privacy_policy = 'people', person_key = 'person_id');
ALTER TABLE door  SET (person_key = 'badge_no → badge.person_id', max_rows_per_person = 3);
ALTER TABLE badge ALTER COLUMN badge_no SET (class = 'identifier');
ALTER TABLE door  ALTER COLUMN day      SET (class = 'attribute');
ALTER TABLE door  ALTER COLUMN gate     SET (class = 'attribute', domain = '{north,south,roof}');
ALTER TABLE door  ALTER COLUMN entries  SET (class = 'measure', lower = 0, upper = 9);

CREATE VIEW entries_by_day AS
SELECT function, day, sum(entries) AS entries FROM door JOIN badge USING (badge_no) JOIN person USING (person_id) GROUP BY function, day;
CREATE VIEW seen (who, day, gate) AS SELECT person_id, day, gate FROM door JOIN badge USING (badge_no);
CREATE VIEW seen_by_invoker WITH (security_invoker = true) AS SELECT day, entries FROM door;
CREATE VIEW badges_by_invoker WITH (security_invoker = true) AS SELECT count(*) AS badges FROM badge;

-- Kinds of parcels are those of a public table.
CREATE EXTERNAL TABLE kind STORED AS CSV LOCATION 'kind.csv';
ALTER TABLE kind ADD PRIMARY KEY (kind);
ALTER TABLE kind SET (public = true);
CREATE EXTERNAL TABLE parcel (person_id BIGINT, kind TEXT REFERENCES kind) STORED AS CSV LOCATION 'parcel.csv';
ALTER TABLE parcel SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 1);
ALTER TABLE parcel ALTER COLUMN kind SET (class = 'attribute');

-- Not badge: whose a row is, is found without a grant.
GRANT SELECT ON door, gate, parcel, kind, entries_by_day, seen, seen_by_invoker, badges_by_invoker TO insights_analyst;
