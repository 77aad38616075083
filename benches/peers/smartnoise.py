"""SmartNoise SQL over DuckDB, through its reader for Postgres.

Its epsilon is for each column that it releases, and a mean is two: it is told less, so that the whole answer costs what it may.
It joins nothing itself; it is given a view that has joined beforehand.
"""

import importlib.metadata
import logging
import warnings

from plain_duckdb import connect
from privacy import EACH_DELTA, EACH_EPSILON
from questions import EVENTS_PER_PERSON, QUESTIONS, ROWS_PER_PERSON, UPPER

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

from snsql import Privacy, from_connection  # once it is told to be quiet

VERSION = f"SmartNoise SQL {importlib.metadata.version('smartnoise-sql')} over DuckDB"
NO_SUBQUERY = "it takes no subqueries, so no measure of each person"
NOTES = {
    "Q1": "of a view in which each person may have one row: its noise is for rows",
    "Q2j": "of a view that has joined beforehand",
    "Q4": "of a view that has joined beforehand",
}


class Session:
    """DuckDB's connection as the reader wants one: it commits by itself, and its rows are to be gone through."""

    def __init__(self, connection):
        self.connection = connection

    def cursor(self):
        return self

    def execute(self, sql):
        self.connection.execute(sql)

    @property
    def description(self):
        return self.connection.description

    def __iter__(self):
        return iter(self.connection.fetchall())

    def commit(self):
        pass

    rollback = commit


def metadata():
    person = {"person_id": {"type": "int", "private_id": True}}
    week = {"week": {"type": "int", "lower": 0, "upper": 51}}
    groups = {name: {"type": "string"} for name in ("function", "level", "country", "org")}
    hours = {name: {"type": "float", "lower": 0, "upper": upper} for name, upper in UPPER.items()}
    bounded = lambda rows: {"max_ids": rows, "sample_max_ids": True, "censor_dims": True}
    columns = {"clamp_columns": True} | person | week | groups | hours
    flat = bounded(ROWS_PER_PERSON) | columns
    return {"": {"main": {
        "pwf": flat,
        "pwf_once": bounded(1) | columns,
        "pw_joined": flat,
        "events_joined": bounded(EVENTS_PER_PERSON) | person | groups,
    }}}


def prepare(files):
    connection = connect(files)
    connection.execute("CREATE VIEW pwf_once AS SELECT * FROM pwf")
    for table in ("pw", "events"):
        connection.execute(f"CREATE VIEW {table}_joined AS SELECT * FROM {table} JOIN people USING (person_id)")
    reader = from_connection(
        Session(connection), engine="postgres", metadata=metadata(), privacy=Privacy(epsilon=EACH_EPSILON, delta=EACH_DELTA))

    def asker(sql):
        reader.privacy.epsilon = EACH_EPSILON
        columns = reader.get_privacy_cost(sql.format(n=0))[0] / EACH_EPSILON

        def ask(n):
            reader.privacy.epsilon = EACH_EPSILON / columns
            return reader.execute(sql.format(n=n))[1:]

        return ask

    of = lambda name, table: QUESTIONS[name].sql.replace(f"{table} JOIN people USING (person_id)", f"{table}_joined")
    asked = {name: asker(of(name, table).replace("FROM ", "FROM main."))
             for name, table in (("Q2", ""), ("Q2j", "pw"), ("Q3", ""), ("Q4", "events"))}
    asked["Q1"] = asker(QUESTIONS["Q1"].sql.replace("FROM pwf", "FROM main.pwf_once"))
    return asked | {"Q5": "it has no private median", "Q6": NO_SUBQUERY}
