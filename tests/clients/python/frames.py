"""pandas, Polars and ADBC: whole answers as data frames; ADBC reads them by COPY in binary."""

import csv
import io
import warnings

import adbc_driver_postgresql.dbapi as adbc
import pandas
import polars
import sqlalchemy as sa

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, Suite, answer, equal, true

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


def by_copy(table, connection, keys, rows):
    """The way to load that pandas' manual shows: https://pandas.pydata.org/docs/user_guide/io.html#insertion-method"""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    with connection.connection.cursor().copy(f"COPY {table.name} ({', '.join(keys)}) FROM STDIN WITH CSV") as copy:
        copy.write(text.getvalue())


@suite.check("to_sql by COPY")
def _():
    administrator = sa.create_engine(
        f"postgresql+psycopg://{ADMIN[0]}:{ADMIN[1]}@{HOST}:{PORT}/{DATABASE}"
    )
    with administrator.begin() as loader:
        loader.exec_driver_sql("DROP TABLE IF EXISTS loaded_pandas")
        loader.exec_driver_sql("CREATE TABLE loaded_pandas (id bigint, name text, part double precision) WITH (public = true)")
        loader.exec_driver_sql("GRANT SELECT ON loaded_pandas TO insights_analyst")
    frame = pandas.DataFrame({"id": [1, 2], "name": ["ä, b", None], "part": [0.5, None]})
    frame.to_sql("loaded_pandas", administrator, if_exists="append", index=False, method=by_copy)
    read = pandas.read_sql("SELECT id, name, part FROM loaded_pandas ORDER BY id", engine)
    equal(read["id"].tolist(), [1, 2])
    equal((read["name"][0], read["part"][0], bool(read["part"].isna()[1])), ("ä, b", 0.5, True))
    with administrator.begin() as loader:
        loader.exec_driver_sql("DROP TABLE loaded_pandas")


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
