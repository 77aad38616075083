"""pg8000: a driver in plain Python that always uses the extended protocol."""

import pg8000.dbapi
import pg8000.native

from harness import ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, REFUSED_STATE, Suite, answer, equal, true

suite = Suite("pg8000")
TARGET = dict(host=HOST, port=PORT, database=DATABASE, user=ANALYST[0], password=ANALYST[1])
connection = pg8000.native.Connection(**TARGET)


@suite.check("a question")
def _():
    answer(connection.run(QUESTION))


@suite.check("parameters")
def _():
    found = connection.run("SELECT level, count(*) FROM person WHERE country = :c GROUP BY level LIMIT :n", c="DE", n=2)
    equal(len(found), 2)


@suite.check("prepared statement")
def _():
    statement = connection.prepare("SELECT :v::int + 1")
    equal((statement.run(v=1), statement.run(v=2)), ([[2]], [[3]]))
    statement.close()


@suite.check("DB-API with a transaction")
def _():
    with pg8000.dbapi.connect(**TARGET) as other:
        cursor = other.cursor()
        cursor.execute(QUESTION)
        equal([column[0] for column in cursor.description], ["function", "persons", "hours"])
        answer(cursor.fetchall())
        other.commit()


@suite.check("refused, then usable")
def _():
    try:
        connection.run(REFUSED)
        true(False, "not refused")
    except pg8000.exceptions.DatabaseError as error:
        equal(error.args[0]["C"], REFUSED_STATE)
    answer(connection.run(QUESTION))
