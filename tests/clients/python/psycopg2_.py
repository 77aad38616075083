"""psycopg2: named cursors, COPY, transactions."""

import io

import psycopg2
import psycopg2.extras

from harness import ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, REFUSED_STATE, Suite, answer, equal, true

suite = Suite("psycopg2")
connection = psycopg2.connect(host=HOST, port=PORT, dbname=DATABASE, user=ANALYST[0], password=ANALYST[1])


def rows(sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


@suite.check("a question")
def _():
    answer(rows(QUESTION))


@suite.check("parameters")
def _():
    found = rows("SELECT level, count(*) FROM person WHERE country IN %s GROUP BY level LIMIT %s", (("DE", "FR"), 2))
    true(len(found) == 2, found)


@suite.check("server-side cursor")
def _():
    plain = rows(QUESTION)
    with connection.cursor("named") as cursor:
        cursor.itersize = 2
        cursor.execute(QUESTION)
        equal(list(cursor), plain)


@suite.check("server-side cursor, scrollable and with hold")
def _():
    plain = rows(QUESTION)
    with connection.cursor("scrolls", scrollable=True, withhold=True) as cursor:
        cursor.execute(QUESTION)
        equal(cursor.fetchmany(2), plain[:2])
        cursor.scroll(-1)
        equal(cursor.fetchone(), plain[1])
        connection.commit()
        equal(cursor.fetchone(), plain[2])


@suite.check("COPY")
def _():
    plain = rows(QUESTION)
    out = io.StringIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({QUESTION}) TO STDOUT WITH CSV HEADER", out)
    lines = out.getvalue().splitlines()
    equal(len(lines), len(plain) + 1)
    equal(lines[0], "function,persons,hours")


@suite.check("dictionaries, encodings, sessions")
def _():
    connection.rollback()
    connection.set_session(readonly=True, autocommit=True)
    connection.set_client_encoding("UTF8")
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT 1 AS one, 'ö' AS text")
        equal(dict(cursor.fetchone()), {"one": 1, "text": "ö"})
    connection.autocommit = False
    connection.reset()


@suite.check("refused, then usable")
def _():
    try:
        rows(REFUSED)
        true(False, "not refused")
    except psycopg2.Error as error:
        equal(error.pgcode, REFUSED_STATE)
    connection.rollback()
    answer(rows(QUESTION))
