"""SQLAlchemy 2: reflection of tables, columns, keys and comments; Core queries."""

import sqlalchemy as sa

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, REFUSED_STATE, Suite, answer, equal, true

suite = Suite("SQLAlchemy 2")


def engine(user=ANALYST, driver="psycopg"):
    return sa.create_engine(f"postgresql+{driver}://{user[0]}:{user[1]}@{HOST}:{PORT}/{DATABASE}")


database = engine()
inspector = sa.inspect(database)


@suite.check("dialect starts")
def _():
    with database.connect() as connection:
        equal(connection.dialect.server_version_info[0], 16)
        equal(connection.dialect.default_schema_name, "public")
        equal(connection.get_isolation_level(), "READ COMMITTED")


@suite.check("a question")
def _():
    with database.connect() as connection:
        answer(connection.execute(sa.text(QUESTION)).fetchall())


@suite.check("tables and schemas")
def _():
    true({"person", "person_week", "email"} <= set(inspector.get_table_names()), inspector.get_table_names())
    true("public" in inspector.get_schema_names(), inspector.get_schema_names())
    inspector.get_view_names()
    inspector.get_materialized_view_names()
    inspector.get_temp_table_names()
    inspector.get_sequence_names()
    true(inspector.has_table("person") and not inspector.has_table("nothing"), "has_table")


@suite.check("columns")
def _():
    columns = {column["name"]: column for column in inspector.get_columns("person_week")}
    true(isinstance(columns["person_id"]["type"], sa.BIGINT), columns["person_id"]["type"])
    true(isinstance(columns["after_hours"]["type"], sa.Float), columns["after_hours"]["type"])
    equal(columns["person_id"]["nullable"], False)
    equal(columns["after_hours"]["comment"], "measure, 0 to 20")


@suite.check("keys")
def _():
    equal(inspector.get_pk_constraint("person_week")["constrained_columns"], ["person_id", "week"])
    inspector.get_foreign_keys("person_week")
    inspector.get_unique_constraints("person")
    inspector.get_indexes("person")
    inspector.get_check_constraints("person")


@suite.check("comments")
def _():
    true("people" in inspector.get_table_comment("person")["text"], inspector.get_table_comment("person"))


@suite.check("other reflection")
def _():
    inspector.get_enums()
    inspector.get_domains()
    inspector.get_table_options("person")


@suite.check("the whole schema at once, then a query from it")
def _():
    tables = sa.MetaData()
    tables.reflect(bind=database, views=True)
    person = tables.tables["person"]
    query = sa.select(person.c.level, sa.func.count()).group_by(person.c.level).order_by(person.c.level).limit(3)
    with database.connect() as connection:
        equal(len(connection.execute(query).fetchall()), 3)


@suite.check("through psycopg2 and pg8000")
def _():
    for driver in ("psycopg2", "pg8000"):
        with engine(driver=driver).connect() as connection:
            answer(connection.execute(sa.text(QUESTION)).fetchall())
            true(sa.inspect(connection).get_columns("person"), "columns")


@suite.check("view definitions, for an administrator")
def _():
    with engine(ADMIN).connect() as connection:
        connection.execute(sa.text("CREATE OR REPLACE VIEW sa_view AS SELECT function, level FROM person"))
        connection.commit()
        looked = sa.inspect(connection)
        true("sa_view" in looked.get_view_names(), looked.get_view_names())
        true("person" in looked.get_view_definition("sa_view"), "definition")
        connection.execute(sa.text("DROP VIEW sa_view"))
        connection.commit()


@suite.check("stream results")
def _():
    with database.connect().execution_options(stream_results=True, yield_per=2) as connection:
        answer(connection.execute(sa.text(QUESTION)).fetchall())


@suite.check("refused, then usable")
def _():
    with database.connect() as connection:
        try:
            connection.execute(sa.text(REFUSED))
            true(False, "not refused")
        except sa.exc.DBAPIError as error:
            equal(error.orig.sqlstate, REFUSED_STATE)
        connection.rollback()
        answer(connection.execute(sa.text(QUESTION)).fetchall())
