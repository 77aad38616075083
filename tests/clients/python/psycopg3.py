"""psycopg 3: parameters, binary, prepared, server-side cursors, pipeline mode, COPY, pool."""

import datetime
import decimal
import uuid

import psycopg
from psycopg_pool import ConnectionPool

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, REFUSED_STATE, Suite, answer, equal, true

suite = Suite("psycopg 3")
TARGET = f"host={HOST} port={PORT} dbname={DATABASE} user={ANALYST[0]} password={ANALYST[1]}"
connection = psycopg.connect(TARGET, autocommit=True)


@suite.check("a question")
def _():
    rows = answer(connection.execute(QUESTION).fetchall())
    equal(answer(connection.execute(QUESTION, binary=True).fetchall()), rows)


@suite.check("types, text and binary")
def _():
    expected = (
        True, 2**31 - 1, 2**40, 0.5, decimal.Decimal("12.50"), "ä", datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 12, 30, 1, 250000), [1, 2], None,
    )
    sql = (
        "SELECT true, 2147483647, 1099511627776::bigint, 0.5::float8, 12.50::numeric(6,2), 'ä'::text, "
        "'2024-02-29'::date, '2024-02-29 12:30:01.25'::timestamp, ARRAY[1, 2], NULL::text"
    )
    for binary in (False, True):
        equal(connection.execute(sql, binary=binary).fetchone(), expected)


@suite.check("parameters")
def _():
    sql = "SELECT function, count(*) FROM person WHERE country = %s AND hired < %s GROUP BY function LIMIT %s"
    rows = connection.execute(sql, ("DE", datetime.date(2030, 1, 1), 2)).fetchall()
    true(len(rows) == 2, f"{len(rows)} rows")
    equal(connection.execute("SELECT %s::uuid::text", (uuid.UUID(int=7),)).fetchone(), (str(uuid.UUID(int=7)),))


@suite.check("prepared, again the same rows")
def _():
    first = connection.execute(QUESTION, prepare=True).fetchall()
    equal(connection.execute(QUESTION, prepare=True).fetchall(), first)


@suite.check("server-side cursor")
def _():
    plain = connection.execute(QUESTION).fetchall()
    with connection.transaction(), connection.cursor("named") as cursor:
        cursor.itersize = 2
        cursor.execute(QUESTION)
        equal(list(cursor), plain)


@suite.check("scrollable cursor")
def _():
    plain = connection.execute(QUESTION).fetchall()
    with connection.transaction(), connection.cursor("scrolls", scrollable=True) as cursor:
        cursor.execute(QUESTION)
        equal(cursor.fetchmany(3), plain[:3])
        cursor.scroll(0, mode="absolute")
        equal(cursor.fetchone(), plain[0])
        cursor.scroll(1)
        equal(cursor.fetchone(), plain[2])


@suite.check("pipeline mode")
def _():
    with connection.pipeline():
        one = connection.execute("SELECT %s::int", (1,))
        two = connection.execute(QUESTION)
        equal(one.fetchone(), (1,))
        answer(two.fetchall())


@suite.check("pipeline mode, an error inside")
def _():
    try:
        with connection.pipeline() as pipeline:
            connection.execute(REFUSED)
            connection.execute("SELECT 1")
            pipeline.sync()
        true(False, "not refused")
    except psycopg.errors.InsufficientPrivilege:
        pass
    equal(connection.execute("SELECT 1").fetchone(), (1,))


@suite.check("COPY text and binary")
def _():
    plain = connection.execute(QUESTION).fetchall()
    with connection.cursor().copy(f"COPY ({QUESTION}) TO STDOUT") as copy:
        copy.set_types(["text", "int8", "float8"])
        equal(list(copy.rows()), plain)
    with connection.cursor().copy(f"COPY ({QUESTION}) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["text", "int8", "float8"])
        equal(list(copy.rows()), plain)


@suite.check("COPY FROM, text and binary, and rolled back")
def _():
    target = TARGET.replace(f"user={ANALYST[0]} password={ANALYST[1]}", f"user={ADMIN[0]} password={ADMIN[1]}")
    kept = [(1, "ä\tb\n\\", datetime.date(2024, 2, 29)), (2, None, None)]
    with psycopg.connect(target) as loader:
        loader.execute("DROP TABLE IF EXISTS loaded_psycopg3")
        loader.execute("CREATE TABLE loaded_psycopg3 (id bigint, name text, day date) WITH (public = true)")
        loader.execute("GRANT SELECT ON loaded_psycopg3 TO insights_analyst")
        loader.commit()
        with loader.cursor().copy("COPY loaded_psycopg3 FROM STDIN") as copy:
            for row in kept:
                copy.write_row(row)
        loader.rollback()
        equal(connection.execute("SELECT count(*) FROM loaded_psycopg3").fetchone(), (0,))
        with loader.cursor().copy("COPY loaded_psycopg3 (id, name, day) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int8", "text", "date"])
            for row in kept:
                copy.write_row(row)
        loader.commit()
        try:
            with loader.cursor().copy("COPY loaded_psycopg3 FROM STDIN (FORMAT csv)") as copy:
                copy.write("3,c,no day\n")
            true(False, "not refused")
        except psycopg.errors.InvalidDatetimeFormat as error:
            equal(error.diag.context, "COPY loaded_psycopg3, line 1, column day")
        loader.rollback()
        equal(connection.execute("SELECT id, name, day FROM loaded_psycopg3 ORDER BY id").fetchall(), kept)
        loader.execute("DROP TABLE loaded_psycopg3")


@suite.check("a table is made and loaded in one transaction")
def _():
    target = TARGET.replace(f"user={ANALYST[0]} password={ANALYST[1]}", f"user={ADMIN[0]} password={ADMIN[1]}")
    with psycopg.connect(target) as loader:
        for keep in [False, True]:
            loader.execute("CREATE TABLE made_and_loaded (id bigint) WITH (public = true)")
            loader.execute("GRANT SELECT ON made_and_loaded TO insights_analyst")
            with loader.cursor().copy("COPY made_and_loaded FROM STDIN") as copy:
                copy.write_row((1,))
                copy.write_row((2,))
            if keep:
                loader.commit()
            else:
                loader.rollback()
                try:
                    connection.execute("SELECT count(*) FROM made_and_loaded")
                    true(False, "not refused")
                except psycopg.errors.UndefinedTable:
                    pass
        equal(connection.execute("SELECT count(*) FROM made_and_loaded").fetchone(), (2,))
        loader.execute("DROP TABLE made_and_loaded")


@suite.check("transactions and savepoints")
def _():
    with connection.transaction():
        try:
            with connection.transaction():
                connection.execute(REFUSED)
        except psycopg.errors.InsufficientPrivilege:
            pass
        equal(connection.execute("SELECT 5").fetchone(), (5,))


@suite.check("pool")
def _():
    with ConnectionPool(TARGET, min_size=1, max_size=2) as pool:
        for _ in range(3):
            with pool.connection() as pooled:
                equal(pooled.execute("SELECT 1").fetchone(), (1,))


@suite.check("options and time zone at the start")
def _():
    with psycopg.connect(TARGET, options="-c statement_timeout=12345 -c search_path=public") as tuned:
        equal(tuned.execute("SHOW statement_timeout").fetchone(), ("12345ms",))
        equal(tuned.execute("SELECT current_setting('search_path')").fetchone(), ("public",))


@suite.check("cancel")
def _():
    connection.cancel()
    equal(connection.execute("SELECT 1").fetchone(), (1,))


@suite.check("columns of a result")
def _():
    described = connection.execute(QUESTION).description
    equal([(column.name, column.type_code) for column in described], [("function", 25), ("persons", 20), ("hours", 701)])


@suite.check("refused, then usable")
def _():
    try:
        connection.execute(REFUSED)
        true(False, "not refused")
    except psycopg.Error as error:
        equal(error.sqlstate, REFUSED_STATE)
        true(error.diag.message_detail and error.diag.message_hint, "no detail or hint")
    answer(connection.execute(QUESTION).fetchall())
