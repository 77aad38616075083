"""psql 15: backslash commands, \\copy, \\gdesc, \\watch, FETCH_COUNT, completion queries."""

import os
import subprocess
import tempfile

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, Suite, true

suite = Suite("psql")


def psql(commands, user=ANALYST, *options, fails=False):
    environment = dict(os.environ, PGPASSWORD=user[1], PAGER="cat", PSQL_HISTORY="/dev/null")
    target = f"host={HOST} port={PORT} dbname={DATABASE} user={user[0]}"
    done = subprocess.run(
        ["psql", "--no-psqlrc", "--set=VERBOSITY=verbose", *options, target],
        input=commands, env=environment, capture_output=True, text=True, timeout=60,
    )
    if not fails:
        true(done.returncode == 0 and "ERROR" not in done.stderr, done.stderr)
    return done.stdout + done.stderr


def shows(commands, *words, user=ANALYST, options=()):
    printed = psql(commands, user, *options)
    for word in words:
        true(word in printed, f"no {word!r} in: {printed}")


for command, words in {
    "\\d": ["person_week", "table"],
    "\\d person": ["Column", "bigint", "not null", "person_pkey"],
    "\\d+ person": ["Description", "identifier", "Storage"],
    "\\dt": ["person", "table"],
    "\\dt+": ["person", "protected"],
    "\\dv": ["relation"],
    "\\dn": ["public"],
    "\\dn+": ["public"],
    "\\df": ["Name"],
    "\\du": ["analyst_1"],
    "\\dp": ["person", "insights_analyst=r"],
    "\\l": ["paravent"],
    "\\di": ["person_pkey"],
    "\\d person_pkey": ["primary key", "person_id"],
    "\\dF": ["Name"],
    "\\dT": ["Name"],
    "\\dx": ["Name"],
    "\\dg": ["insights_analyst"],
    "\\drds": ["settings"],
    "\\conninfo": ["analyst_1"],
    "\\dconfig search_path": ["public"],
    "\\z person": ["person"],
}.items():
    suite.check(command)(lambda command=command, words=words: (
        shows(command, *words) if command != "\\dv" else psql(command)
    ))


@suite.check("a question")
def _():
    shows(QUESTION + ";", "function", "rows)")


@suite.check("\\copy (…) to csv")
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "answer.csv")
        shows(f"\\copy ({QUESTION}) TO '{path}' CSV HEADER", "COPY")
        lines = open(path, encoding="utf-8").read().splitlines()
        true(lines[0] == "function,persons,hours" and len(lines) > 5, lines[:1])


@suite.check("\\copy from csv")
def _():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.csv")
        with open(path, "w", encoding="utf-8") as file:
            file.write('id,name\r\n1,"a ""b"""\r\n2,\r\n')
        shows(
            "DROP TABLE IF EXISTS loaded_psql;\n"
            "CREATE TABLE loaded_psql (id integer, name text) WITH (public = true);\n"
            "GRANT SELECT ON loaded_psql TO insights_analyst;\n"
            f"\\copy loaded_psql FROM '{path}' CSV HEADER\n"
            "COPY loaded_psql (id) FROM STDIN;\n3\n\\.\n",
            "COPY 2", "COPY 1", user=ADMIN,
        )
        shows("SELECT id, name FROM loaded_psql ORDER BY id;", 'a "b"', "(3 rows)")
        with open(path, "w", encoding="utf-8") as file:
            file.write("id,name\n4,d\nfive,e\n")
        printed = psql(f"\\copy loaded_psql FROM '{path}' CSV HEADER\nDROP TABLE loaded_psql;", ADMIN, fails=True)
        true("22P02" in printed and "COPY loaded_psql, line 3, column id" in printed, printed)
        true("five" not in printed and "DROP TABLE" in printed, printed)


@suite.check("\\gdesc")
def _():
    shows(QUESTION + " \\gdesc", "function", "text", "bigint", "double precision")


@suite.check("\\gx and \\gset")
def _():
    shows("SELECT 7 AS seven \\gset\n\\echo got :seven", "got 7")
    shows(QUESTION + " \\gx", "RECORD 1")


@suite.check("\\watch")
def _():
    # psql 15 watches until it is interrupted.
    environment = dict(os.environ, PGPASSWORD=ANALYST[1], PAGER="cat")
    target = f"host={HOST} port={PORT} dbname={DATABASE} user={ANALYST[0]}"
    done = subprocess.run(
        ["timeout", "--signal=INT", "3", "psql", "--no-psqlrc", target],
        input=QUESTION + " \\watch 0.5\n", env=environment, capture_output=True, text=True, timeout=30,
    )
    true(done.stdout.count("every 0.5s") >= 2, done.stdout + done.stderr)


@suite.check("FETCH_COUNT cursor")
def _():
    plain = psql(QUESTION + ";", ANALYST, "--tuples-only", "--no-align")
    stepped = psql(QUESTION + ";", ANALYST, "--tuples-only", "--no-align", "--set=FETCH_COUNT=2")
    true(plain == stepped, f"{plain} and {stepped}")


@suite.check("scroll cursor")
def _():
    shows(
        f"BEGIN; DECLARE c SCROLL CURSOR FOR {QUESTION}; FETCH 2 FROM c; FETCH BACKWARD 1 FROM c; FETCH LAST FROM c; "
        "FETCH FIRST FROM c; FETCH ABSOLUTE 3 FROM c; FETCH RELATIVE -1 FROM c; MOVE 1 FROM c; FETCH PRIOR FROM c; "
        "COMMIT;",
        "MOVE 1", "COMMIT",
    )


@suite.check("several statements in one string")
def _():
    shows("", "7", "8", options=("--command", "SELECT 7; /* and */ SELECT 8; -- done"))


@suite.check("tab completion")
def _():
    here = os.path.dirname(os.path.abspath(__file__))
    script = os.path.join(here, "..", "replay", "psql_completion.sql")
    true("ERROR" not in psql(open(script, encoding="utf-8").read()), "a completion query fails")


@suite.check("\\c and variables")
def _():
    shows("\\c\n\\echo :SERVER_VERSION_NAME :USER :ENCODING", "connected", "16", "UTF8")


@suite.check("administrator's \\d+ of a view")
def _():
    shows(
        "CREATE OR REPLACE VIEW psql_view AS SELECT function, level, after_hours FROM person "
        "JOIN person_week USING (person_id); \n\\d+ psql_view\n\\dv\n\\sv psql_view\nDROP VIEW psql_view;",
        "View definition", "after_hours", user=ADMIN,
    )


@suite.check("refused, then usable")
def _():
    printed = psql(f"{REFUSED};\nSELECT 7 * 6;\n", fails=True)
    true("42501" in printed and "42" in printed.replace("42501", ""), printed)
