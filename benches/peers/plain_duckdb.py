"""DuckDB over the Parquet files, without any privacy."""

import duckdb

from questions import QUESTIONS

VERSION = f"DuckDB {duckdb.__version__}, plain"


def connect(files):
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    for table in ("people", "pw", "pwf", "events"):
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM '{files}/{table}.parquet'")
    return connection


def prepare(files):
    connection = connect(files)
    asker = lambda sql: lambda n: connection.execute(sql.format(n=n)).fetchall()
    return {name: asker(question.sql) for name, question in QUESTIONS.items()}
