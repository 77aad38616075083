//! The workload's questions: as an analyst asks them, and bounded by hand as somebody without this server would.
//!
//! `{n}` makes each asking a new question: a condition that every row meets, so that no answer comes from the store.

pub struct Question {
    pub name: &'static str,
    pub about: &'static str,
    /// Asked of this server.
    pub protected: &'static str,
    /// The same of the bare engine.
    pub plain: &'static str,
    /// Of the bare engine, with each person's contribution bounded in SQL; no noise.
    pub by_hand: &'static str,
    /// The ratio of protected to plain that is wanted, where there is a figure.
    pub wanted: Option<f64>,
}

pub const QUESTIONS: [Question; 10] = [
    Question {
        name: "Q1",
        about: "persons by function",
        protected: "SELECT function, count(DISTINCT person_id) FROM pwf WHERE country <> 'X{n}' GROUP BY function",
        plain: "SELECT function, count(DISTINCT person_id) FROM pwf WHERE country <> 'X{n}' GROUP BY function",
        by_hand: "SELECT function, count(*) AS v FROM (SELECT person_id, function FROM pwf WHERE country <> 'X{n}' \
                  GROUP BY person_id, function) s GROUP BY function HAVING count(*) >= 10",
        wanted: Some(1.15),
    },
    Question {
        name: "Q2",
        about: "mean by function and country, flat table",
        protected: "SELECT function, country, avg(after_hours) FROM pwf WHERE country <> 'X{n}' GROUP BY function, country",
        plain: "SELECT function, country, avg(after_hours) FROM pwf WHERE country <> 'X{n}' GROUP BY function, country",
        by_hand: "SELECT function, country, sum(least(s, 20.0 * 52)) / sum(least(c, 52)) AS v, count(*) AS n FROM \
                  (SELECT person_id, function, country, sum(greatest(0.0, least(20.0, after_hours))) AS s, count(*) AS c \
                  FROM pwf WHERE country <> 'X{n}' GROUP BY person_id, function, country) s \
                  GROUP BY function, country HAVING count(*) >= 10",
        wanted: Some(2.0),
    },
    Question {
        name: "Q2j",
        about: "the same through the star join",
        protected: "SELECT function, country, avg(after_hours) FROM pw JOIN people USING (person_id) \
                    WHERE country <> 'X{n}' GROUP BY function, country",
        plain: "SELECT function, country, avg(after_hours) FROM pw JOIN people USING (person_id) \
                WHERE country <> 'X{n}' GROUP BY function, country",
        by_hand: "SELECT p.function, p.country, sum(least(s, 20.0 * 52)) / sum(least(c, 52)) AS v, count(*) AS n FROM \
                  (SELECT person_id, sum(greatest(0.0, least(20.0, after_hours))) AS s, count(*) AS c FROM pw \
                  GROUP BY person_id) w JOIN people p ON w.person_id = p.person_id WHERE country <> 'X{n}' \
                  GROUP BY p.function, p.country HAVING count(*) >= 10",
        wanted: Some(1.2),
    },
    Question {
        name: "Q3",
        about: "sum by country and week, one row a person and week",
        protected: "SELECT country, week, sum(email_hours) FROM pwf52 WHERE country <> 'X{n}' GROUP BY country, week",
        plain: "SELECT country, week, sum(email_hours) FROM pwf WHERE country <> 'X{n}' GROUP BY country, week",
        by_hand: "SELECT country, week, sum(least(s, 40.0)) AS v, count(*) AS n FROM (SELECT person_id, country, week, \
                  sum(greatest(0.0, least(40.0, email_hours))) AS s FROM pwf WHERE country <> 'X{n}' \
                  GROUP BY person_id, country, week) s GROUP BY country, week HAVING count(*) >= 10",
        wanted: Some(1.5),
    },
    Question {
        name: "Q3L0",
        about: "the same, at most 26 groups a person",
        protected: "SELECT country, week, sum(email_hours) FROM pwf26 WHERE country <> 'X{n}' GROUP BY country, week",
        plain: "SELECT country, week, sum(email_hours) FROM pwf WHERE country <> 'X{n}' GROUP BY country, week",
        by_hand: "SELECT country, week, sum(least(s, 40.0)) AS v, count(*) AS n FROM (SELECT *, row_number() OVER \
                  (PARTITION BY person_id ORDER BY random()) AS rn FROM (SELECT person_id, country, week, \
                  sum(greatest(0.0, least(40.0, email_hours))) AS s FROM pwf WHERE country <> 'X{n}' \
                  GROUP BY person_id, country, week) a) s WHERE rn <= 26 GROUP BY country, week HAVING count(*) >= 10",
        wanted: Some(5.0),
    },
    Question {
        name: "Q4",
        about: "events by function, at most 1,000 a person",
        protected: "SELECT function, count(*) FROM events JOIN people USING (person_id) WHERE country <> 'X{n}' GROUP BY function",
        plain: "SELECT function, count(*) FROM events JOIN people USING (person_id) WHERE country <> 'X{n}' GROUP BY function",
        by_hand: "SELECT p.function, sum(least(c, 1000)) AS v, count(*) AS n FROM (SELECT person_id, count(*) AS c \
                  FROM events GROUP BY person_id) e JOIN people p ON e.person_id = p.person_id \
                  WHERE country <> 'X{n}' GROUP BY p.function HAVING count(*) >= 10",
        wanted: Some(1.1),
    },
    Question {
        name: "Q5",
        about: "median by level",
        protected: "SELECT level, median(meeting_hours) FROM pwf WHERE country <> 'X{n}' GROUP BY level",
        plain: "SELECT level, approx_median(meeting_hours) FROM pwf WHERE country <> 'X{n}' GROUP BY level",
        by_hand: "SELECT level, approx_median(m) AS v, count(*) AS n FROM (SELECT person_id, level, \
                  avg(greatest(0.0, least(60.0, meeting_hours))) AS m FROM pwf WHERE country <> 'X{n}' \
                  GROUP BY person_id, level) s GROUP BY level HAVING count(*) >= 10",
        wanted: Some(1.5),
    },
    Question {
        name: "Q6",
        about: "share of persons over a threshold, by organisation",
        protected: "SELECT org, avg(CASE WHEN f > 10 THEN 1.0 ELSE 0.0 END) FROM (SELECT person_id, org, \
                    avg(focus_hours) AS f FROM pwf WHERE country <> 'X{n}' GROUP BY person_id, org) s GROUP BY org",
        plain: "SELECT org, avg(CASE WHEN f > 10 THEN 1.0 ELSE 0.0 END) FROM (SELECT person_id, org, \
                avg(focus_hours) AS f FROM pwf WHERE country <> 'X{n}' GROUP BY person_id, org) s GROUP BY org",
        by_hand: "SELECT org, avg(CASE WHEN f > 10 THEN 1.0 ELSE 0.0 END) AS v, count(*) AS n FROM (SELECT person_id, \
                  org, avg(greatest(0.0, least(40.0, focus_hours))) AS f FROM pwf WHERE country <> 'X{n}' \
                  GROUP BY person_id, org) s GROUP BY org HAVING count(*) >= 10",
        wanted: Some(1.2),
    },
    Question {
        name: "Q7",
        about: "persons and mean by function, by country, of all",
        protected: "SELECT function, country, count(DISTINCT person_id), avg(after_hours) FROM pwf \
                    WHERE country <> 'X{n}' GROUP BY GROUPING SETS ((function), (country), ())",
        plain: "SELECT function, country, count(DISTINCT person_id), avg(after_hours) FROM pwf \
                WHERE country <> 'X{n}' GROUP BY GROUPING SETS ((function), (country), ())",
        by_hand: "SELECT function, country, count(*) AS n, sum(least(s, 20.0 * 52)) / sum(least(c, 52)) AS v FROM \
                  (SELECT person_id, function, country, sum(greatest(0.0, least(20.0, after_hours))) AS s, count(*) AS c \
                  FROM pwf WHERE country <> 'X{n}' GROUP BY person_id, function, country) s \
                  GROUP BY GROUPING SETS ((function), (country), ()) HAVING count(*) >= 10",
        wanted: None,
    },
    Question {
        name: "Q8",
        about: "rows and three means by function",
        protected: "SELECT function, count(*), avg(email_hours), avg(meeting_hours), avg(focus_hours) FROM pwf \
                    WHERE country <> 'X{n}' GROUP BY function",
        plain: "SELECT function, count(*), avg(email_hours), avg(meeting_hours), avg(focus_hours) FROM pwf \
                WHERE country <> 'X{n}' GROUP BY function",
        by_hand: "SELECT function, sum(least(c, 52)) AS v, sum(least(e, 40.0 * 52)) / sum(least(c, 52)) AS mail, \
                  sum(least(m, 60.0 * 52)) / sum(least(c, 52)) AS meetings, \
                  sum(least(f, 40.0 * 52)) / sum(least(c, 52)) AS focus, count(*) AS n FROM \
                  (SELECT person_id, function, count(*) AS c, sum(greatest(0.0, least(40.0, email_hours))) AS e, \
                  sum(greatest(0.0, least(60.0, meeting_hours))) AS m, \
                  sum(greatest(0.0, least(40.0, focus_hours))) AS f \
                  FROM pwf WHERE country <> 'X{n}' GROUP BY person_id, function) s \
                  GROUP BY function HAVING count(*) >= 10",
        wanted: None,
    },
];

/// What the administrator says of the files.
pub const SCHEMA: &str = "
CREATE EXTERNAL TABLE people STORED AS PARQUET LOCATION 'workload/people.parquet';
CREATE EXTERNAL TABLE pw     STORED AS PARQUET LOCATION 'workload/pw.parquet';
CREATE EXTERNAL TABLE pwf    STORED AS PARQUET LOCATION 'workload/pwf.parquet';
CREATE EXTERNAL TABLE pwf52  STORED AS PARQUET LOCATION 'workload/pwf.parquet';
CREATE EXTERNAL TABLE pwf26  STORED AS PARQUET LOCATION 'workload/pwf.parquet';
CREATE EXTERNAL TABLE events STORED AS PARQUET LOCATION 'workload/events.parquet';
ALTER TABLE people ADD PRIMARY KEY (person_id);
ALTER TABLE pw     ADD PRIMARY KEY (person_id, week);
ALTER TABLE pwf    ADD PRIMARY KEY (person_id, week);
ALTER TABLE pwf52  ADD PRIMARY KEY (person_id, week);
ALTER TABLE pwf26  ADD PRIMARY KEY (person_id, week);
ALTER TABLE people SET (privacy_policy = 'people', person_key = 'person_id');
ALTER TABLE pw     SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 52, max_groups_per_person = 52);
ALTER TABLE pwf    SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 52, max_groups_per_person = 1);
ALTER TABLE pwf52  SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 52, max_groups_per_person = 52);
ALTER TABLE pwf26  SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 52, max_groups_per_person = 26);
ALTER TABLE events SET (privacy_policy = 'people', person_key = 'person_id', max_rows_per_person = 1000, max_groups_per_person = 1);
";

pub const ATTRIBUTES: [&str; 4] = ["function", "level", "country", "org"];
pub const MEASURES: [(&str, u32); 5] =
    [("email_hours", 40), ("meeting_hours", 60), ("after_hours", 20), ("focus_hours", 40), ("call_hours", 40)];
