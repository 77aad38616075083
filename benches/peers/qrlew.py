"""Qrlew: it rewrites a question into SQL that adds the noise, and DuckDB runs that. Both are timed.

It reads the tables' columns from a database; that is an empty SQLite with the same columns, and the numbers of rows are told.
It is told the names of the groups and the ranges of hours.
"""

import importlib.metadata
import json

import sqlalchemy
from pyqrlew import Dataset, Dialect
from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, String, Table
from sqlalchemy.pool import StaticPool

from plain_duckdb import connect
from privacy import EACH_DELTA, EACH_EPSILON
from questions import EVENTS_PER_PERSON, QUESTIONS, ROWS_PER_PERSON, UPPER

VERSION = f"Qrlew {importlib.metadata.version('pyqrlew')} over DuckDB"
NOTES = {"Q1": "right only as each person may count once: its COUNT(DISTINCT) counts rows"}
# Rows that a person may have in what is aggregated last.
MULTIPLICITY = {"Q1": 1, "Q4": EVENTS_PER_PERSON, "Q6": 1}
GROUPS = ["function", "level", "country", "org"]
COLUMNS = {
    "people": GROUPS,
    "pw": ["week", *UPPER],
    "pwf": ["week", *UPPER, *GROUPS],
    "events": ["kind"],
}


def describe(rows):
    """The tables as Qrlew knows them, before it is told more. It would count the rows of the empty tables."""
    empty = sqlalchemy.create_engine("sqlite://", poolclass=StaticPool)
    tables = MetaData()
    kind = lambda name: Integer if name == "week" else Float if name in UPPER else String
    for table, columns in COLUMNS.items():
        Table(table, tables, Column("person_id", BigInteger), *(Column(name, kind(name)) for name in columns))
    tables.create_all(empty)
    read = Dataset.from_str

    def with_rows(dataset, schema, size):
        size = json.loads(size)
        for table in size["statistics"]["union"]["fields"]:
            table["statistics"]["struct"]["size"] = str(rows[table["name"]])
        return read(dataset, schema, json.dumps(size))

    Dataset.from_str = staticmethod(with_rows)
    return Dataset.from_database("bench", empty)


def prepare(files):
    connection = connect(files)
    all_rows = lambda sql: connection.execute(sql).fetchall()
    dataset = describe({table: all_rows(f"SELECT count(*) FROM {table}")[0][0] for table in COLUMNS})
    for table, columns in COLUMNS.items():
        for name in columns:
            if name in GROUPS:
                values = [row[0] for row in all_rows(f"SELECT DISTINCT {name} FROM people")]
                dataset = dataset.with_possible_values(None, table, name, values)
            elif name in UPPER:
                dataset = dataset.with_range(None, table, name, 0, UPPER[name])
            elif name == "week":
                dataset = dataset.with_range(None, table, name, 0, 51)
    persons = [(table, [], "person_id") for table in COLUMNS]

    def asker(sql, multiplicity):
        def ask(n):
            private = dataset.relation(sql.format(n=n)).rewrite_with_differential_privacy(
                dataset=dataset, privacy_unit=persons, epsilon_delta={"epsilon": EACH_EPSILON, "delta": EACH_DELTA},
                max_multiplicity=float(multiplicity), max_multiplicity_share=1.0)
            return all_rows(private.relation().to_query(Dialect.PostgreSql))

        return ask

    asked = {name: asker(question.sql, MULTIPLICITY.get(name, ROWS_PER_PERSON)) for name, question in QUESTIONS.items()}
    asked["Q5"] = "it has no private median (its parser panics)"
    return asked
