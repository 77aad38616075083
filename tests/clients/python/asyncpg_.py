"""asyncpg: pool, prepared statements, cursors, type introspection, COPY."""

import asyncio
import datetime
import io

import asyncpg

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, REFUSED_STATE, Suite, answer, equal, true

suite = Suite("asyncpg")
TARGET = dict(host=HOST, port=PORT, database=DATABASE, user=ANALYST[0], password=ANALYST[1])
loop = asyncio.new_event_loop()
connection = loop.run_until_complete(asyncpg.connect(**TARGET))


def check(name):
    return lambda body: suite.check(name)(lambda: loop.run_until_complete(body()))


@check("a question")
async def _():
    answer(await connection.fetch(QUESTION))


@check("parameters")
async def _():
    sql = "SELECT level, count(*) FROM person WHERE country = $1 AND hired < $2 GROUP BY level LIMIT $3"
    rows = await connection.fetch(sql, "DE", datetime.date(2030, 1, 1), 2)
    equal(len(rows), 2)
    rows = await connection.fetch("SELECT level, count(*) FROM person WHERE country = ANY($1) GROUP BY 1", ["DE"])
    true(rows, "no rows")


@check("prepared statement")
async def _():
    statement = await connection.prepare(QUESTION)
    equal([a.type.name for a in statement.get_attributes()], ["text", "int8", "float8"])
    equal(await statement.fetch(), await statement.fetch())


@check("cursor")
async def _():
    plain = await connection.fetch(QUESTION)
    async with connection.transaction():
        stepped = [row async for row in connection.cursor(QUESTION, prefetch=2)]
        equal(stepped, plain)
        cursor = await connection.cursor(QUESTION)
        equal(await cursor.fetch(2), plain[:2])
        await cursor.forward(1)
        equal(await cursor.fetchrow(), plain[3])


@check("type introspection")
async def _():
    # A type that the driver does not know by heart, so that it asks the catalog.
    equal(await connection.fetchval("SELECT ARRAY['a', 'b']::text[]"), ["a", "b"])
    await connection.set_type_codec("json", encoder=str, decoder=str, schema="pg_catalog")
    true(await connection.fetch("SELECT oid, typname FROM pg_catalog.pg_type WHERE oid = any($1::oid[])", [25]), "text")
    equal(await connection.fetchval("SELECT ARRAY[1, 2]"), [1, 2])


@check("COPY csv and binary")
async def _():
    out = io.BytesIO()
    await connection.copy_from_query(QUESTION, output=out, format="csv", header=True)
    true(out.getvalue().startswith(b"function,persons,hours"), out.getvalue()[:30])
    out = io.BytesIO()
    await connection.copy_from_query(QUESTION, output=out, format="binary")
    true(out.getvalue().startswith(b"PGCOPY\n\xff\r\n\0"), out.getvalue()[:12])


@check("copy_records_to_table and copy_to_table")
async def _():
    admin = await asyncpg.connect(**dict(TARGET, user=ADMIN[0], password=ADMIN[1]))
    await admin.execute("DROP TABLE IF EXISTS loaded_asyncpg")
    await admin.execute("CREATE TABLE loaded_asyncpg (id integer, at timestamptz, share real) WITH (public = true)")
    await admin.execute("GRANT SELECT ON loaded_asyncpg TO insights_analyst")
    moment = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
    records = [(1, moment, 0.5), (2, None, None)]
    # It asks for the columns first, as the administrator may not read the table.
    try:
        equal(await admin.copy_records_to_table("loaded_asyncpg", records=records), "COPY 2")
    except asyncpg.InsufficientPrivilegeError:
        true(False, "the columns were not told")
    equal(await admin.copy_to_table("loaded_asyncpg", source=io.BytesIO(b"3,,\n"), format="csv"), "COPY 1")
    rows = await connection.fetch("SELECT id, at, share FROM loaded_asyncpg ORDER BY id")
    equal([tuple(row) for row in rows], records + [(3, None, None)])
    await admin.execute("DROP TABLE loaded_asyncpg")
    await admin.close()


@check("pool, released and reset")
async def _():
    async with asyncpg.create_pool(min_size=1, max_size=2, **TARGET) as pool:
        for _ in range(3):
            async with pool.acquire() as pooled:
                await pooled.execute("SET application_name = 'pooled'")
                equal(await pooled.fetchval("SELECT 1"), 1)
        equal(await pool.fetchval("SHOW application_name"), "")


@check("server settings")
async def _():
    other = await asyncpg.connect(server_settings={"application_name": "mine", "statement_timeout": "9s"}, **TARGET)
    equal(await other.fetchval("SHOW statement_timeout"), "9s")
    equal(await other.fetchval("SELECT current_setting('application_name')"), "mine")
    await other.close()


@check("refused, then usable")
async def _():
    try:
        await connection.fetch(REFUSED)
        true(False, "not refused")
    except asyncpg.PostgresError as error:
        equal(error.sqlstate, REFUSED_STATE)
    answer(await connection.fetch(QUESTION))


loop.run_until_complete(connection.close())
