"""The workload's questions: what everybody is asked, with which bounds, and the exact answers.

`{n}` makes each asking a new question: a condition that every row meets, so that no answer comes from a store.
"""

from dataclasses import dataclass

ROWS_PER_PERSON = 52  # of pw and pwf: one a week
EVENTS_PER_PERSON = 1_000
UPPER = {"email_hours": 40, "meeting_hours": 60, "after_hours": 20, "focus_hours": 40, "call_hours": 40}


@dataclass(frozen=True)
class Question:
    about: str
    keys: tuple
    """The columns of the answer's groups; its last column is the value."""
    sql: str
    """In the SQL that all engines share; a table that is bounded otherwise is the engine's affair."""
    bounded: str = ""
    """What is exactly right under the bounds, where that is not what `sql` says."""


FILTER = "country <> 'X{n}'"
CLAMPED = "greatest(0, least({upper}, {column}))"
AFTER = CLAMPED.format(upper=UPPER["after_hours"], column="after_hours")
MAIL = CLAMPED.format(upper=UPPER["email_hours"], column="email_hours")

QUESTIONS = {
    "Q1": Question(
        "persons by function", ("function",),
        f"SELECT function, count(DISTINCT person_id) AS v FROM pwf WHERE {FILTER} GROUP BY function"),
    "Q2": Question(
        "mean by function and country, flat table", ("function", "country"),
        f"SELECT function, country, avg(after_hours) AS v FROM pwf WHERE {FILTER} GROUP BY function, country",
        f"SELECT function, country, avg({AFTER}) AS v FROM pwf GROUP BY function, country"),
    "Q2j": Question(
        "the same through the star join", ("function", "country"),
        f"SELECT function, country, avg(after_hours) AS v FROM pw JOIN people USING (person_id) WHERE {FILTER} "
        "GROUP BY function, country",
        f"SELECT function, country, avg({AFTER}) AS v FROM pwf GROUP BY function, country"),
    "Q3": Question(
        "sum by country and week", ("country", "week"),
        f"SELECT country, week, sum(email_hours) AS v FROM pwf WHERE {FILTER} GROUP BY country, week",
        f"SELECT country, week, sum({MAIL}) AS v FROM pwf GROUP BY country, week"),
    "Q4": Question(
        "events by function, at most 1,000 a person", ("function",),
        f"SELECT function, count(*) AS v FROM events JOIN people USING (person_id) WHERE {FILTER} GROUP BY function",
        f"SELECT function, sum(least(c, {EVENTS_PER_PERSON})) AS v FROM people JOIN (SELECT person_id, count(*) AS c "
        "FROM events GROUP BY person_id) USING (person_id) GROUP BY function"),
    "Q5": Question(
        "median by level", ("level",),
        f"SELECT level, median(meeting_hours) AS v FROM pwf WHERE {FILTER} GROUP BY level"),
    "Q6": Question(
        "share of persons over a threshold, by organisation", ("org",),
        "SELECT org, avg(CASE WHEN f > 10 THEN 1.0 ELSE 0.0 END) AS v FROM (SELECT person_id, org, avg(focus_hours) AS f "
        f"FROM pwf WHERE {FILTER} GROUP BY person_id, org) AS s GROUP BY org"),
}


def exact(run):
    """By question: the answers under the bounds, and without them; groups to values. `run` asks an exact engine."""
    groups = lambda rows: {tuple(map(str, row[:-1])): float(row[-1]) for row in rows}
    answers = {}
    for name, question in QUESTIONS.items():
        plain = question.sql.format(n=0)
        answers[name] = (groups(run(question.bounded or plain)), groups(run(plain)))
    return answers
