"""psqlodbc through unixODBC: the road of Excel, Power BI and Tableau."""

import pyodbc

from harness import ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, REFUSED_STATE, Suite, answer, equal, true

suite = Suite("ODBC (psqlodbc)")


def connect(**more):
    options = "".join(f";{name}={value}" for name, value in more.items())
    return pyodbc.connect(
        f"DRIVER={{PostgreSQL Unicode}};SERVER={HOST};PORT={PORT};DATABASE={DATABASE};"
        f"UID={ANALYST[0]};PWD={ANALYST[1]}{options}"
    )


connection = connect()


@suite.check("a question")
def _():
    answer(connection.execute(QUESTION).fetchall())


@suite.check("parameters")
def _():
    found = connection.execute("SELECT level, count(*) FROM person WHERE country = ? GROUP BY level", "DE").fetchall()
    true(found, "no rows")


@suite.check("tables and columns")
def _():
    cursor = connection.cursor()
    tables = [row.table_name for row in cursor.tables(tableType="TABLE")]
    true("person" in tables, tables)
    columns = {row.column_name: row for row in cursor.columns(table="person_week")}
    equal(columns["after_hours"].type_name, "float8")
    true(list(cursor.getTypeInfo()), "no types")


@suite.check("keys and statistics")
def _():
    cursor = connection.cursor()
    equal([row.column_name for row in cursor.primaryKeys("person_week")], ["person_id", "week"])
    list(cursor.foreignKeys("person_week"))
    list(cursor.statistics("person"))
    list(cursor.rowIdColumns("person"))
    list(cursor.procedures())


@suite.check("declare and fetch")
def _():
    stepped = connect(UseDeclareFetch=1, Fetch=2)
    answer(stepped.execute(QUESTION).fetchall())
    stepped.close()


@suite.check("types")
def _():
    row = connection.execute(
        "SELECT true, 7::int, 1.5::float8, 'x', '2024-02-29'::date, '2024-02-29 12:30:01.25'::timestamp, 12.50::numeric(6,2)"
    ).fetchone()
    equal((row[1], row[2], row[3], row[4].isoformat(), str(row[6])), (7, 1.5, "x", "2024-02-29", "12.50"))


@suite.check("refused, then usable")
def _():
    try:
        connection.execute(REFUSED)
        true(False, "not refused")
    except pyodbc.Error as error:
        equal(error.args[0], REFUSED_STATE)
    connection.rollback()
    answer(connection.execute(QUESTION).fetchall())
