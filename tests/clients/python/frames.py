"""pandas, Polars and ADBC: whole answers as data frames; ADBC reads them by COPY in binary."""

import warnings

import adbc_driver_postgresql.dbapi as adbc
import pandas
import polars
import sqlalchemy as sa

from harness import ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, Suite, answer, equal, true

URL = f"postgresql://{ANALYST[0]}:{ANALYST[1]}@{HOST}:{PORT}/{DATABASE}"
engine = sa.create_engine(URL.replace("postgresql", "postgresql+psycopg", 1))
warnings.simplefilter("ignore")

suite = Suite("pandas")


@suite.check("read_sql")
def _():
    frame = pandas.read_sql(QUESTION, engine)
    equal([str(kind) for kind in frame.dtypes][1:], ["int64", "float64"])
    answer(frame.itertuples(index=False))


@suite.check("read_sql with parameters and chunks")
def _():
    sql = "SELECT level, count(*) AS n FROM person WHERE country = %(country)s GROUP BY level"
    chunks = list(pandas.read_sql(sql, engine, params={"country": "DE"}, chunksize=2))
    true(chunks, "no chunk")


@suite.check("read_sql_table of a system view")
def _():
    equal(list(pandas.read_sql_table("budget", engine, schema="privacy").columns)[:1], ["policy"])


@suite.check("refused, then usable")
def _():
    try:
        pandas.read_sql(REFUSED, engine)
    except Exception as error:  # pandas 3 has an exception of its own
        true("not released" in str(error), error)
    else:
        true(False, "not refused")
    answer(pandas.read_sql(QUESTION, engine).itertuples(index=False))


suite = Suite("Polars, ADBC")
connection = adbc.connect(URL)


@suite.check("ADBC, binary COPY")
def _():
    with connection.cursor() as cursor:
        cursor.execute(QUESTION)
        table = cursor.fetch_arrow_table()
    equal([str(kind) for kind in table.schema.types], ["string", "int64", "double"])
    answer(zip(*table.to_pydict().values()))


@suite.check("ADBC, types")
def _():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT true AS b, 7::int AS i, 1.5::float8 AS f, 'x' AS t, date '2024-02-29' AS d, "
            "'2024-02-29 12:30:01.25'::timestamp AS ts, NULL::bigint AS n, 12.50::numeric(6,2) AS x"
        )
        table = cursor.fetch_arrow_table()
    equal(table.num_rows, 1)
    equal(table.column("d")[0].as_py().isoformat(), "2024-02-29")
    equal(table.column("ts")[0].as_py().isoformat(), "2024-02-29T12:30:01.250000")


@suite.check("ADBC, catalog")
def _():
    objects = connection.adbc_get_objects(depth="all", table_name_filter="person_week").read_all().to_pylist()
    true("after_hours" in str(objects), objects)
    true("bigint" in str(objects) or objects, "types")
    true(connection.adbc_get_table_schema("person_week", db_schema_filter="public").names, "no columns")


@suite.check("polars.read_database_uri")
def _():
    frame = polars.read_database_uri(QUESTION, URL, engine="adbc")
    answer(frame.rows())


@suite.check("refused, then usable")
def _():
    with connection.cursor() as cursor:
        try:
            cursor.execute(REFUSED)
            cursor.fetchall()
        except adbc.Error as error:
            equal(error.sqlstate, "42501")
        else:
            true(False, "not refused")
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute(QUESTION)
        answer(cursor.fetchall())


connection.close()
