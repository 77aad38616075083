"""Tools that cannot be installed here: the statements they are known to send, by both protocols.

A statement ends with a semicolon at the end of a line. `-- refused: SQLSTATE` before one says that it must be refused. A question
about persons must give rows, unless it is a probe for column types: a dialect's function that is taken for something else would
leave none.
"""

import os
import re
import sys

import psycopg

from harness import ANALYST, DATABASE, HOST, PORT, Suite, equal, true

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "replay")
TARGET = f"host={HOST} port={PORT} dbname={DATABASE} user={ANALYST[0]} password={ANALYST[1]}"
NAMES = {
    "tableau": "Tableau (replay)", "power_bi": "Power BI (replay)", "metabase": "Metabase (replay)",
    "grafana": "Grafana (replay)", "dbeaver": "DBeaver (replay)", "looker": "Looker (replay)",
}


def statements(name):
    text = open(os.path.join(FOLDER, f"{name}.sql"), encoding="utf-8").read()
    for part in re.split(r";\n", text):
        refused = re.search(r"^-- refused: (\w{5})$", part, re.MULTILINE)
        sql = part.strip()
        if sql:
            yield sql, refused and refused.group(1)


def replay(suite, name, extended):
    connection = psycopg.connect(TARGET, autocommit=True)
    for number, (sql, refused) in enumerate(statements(name), start=1):
        def run(sql=sql, refused=refused):
            try:
                # A binary result is only to be had through the extended protocol.
                done = connection.execute(sql, binary=extended)
                asks = re.match(r"(--.*\n|\s)*select\b", sql, re.IGNORECASE) and re.search(r"\bFROM\b.*\bperson", sql, re.DOTALL | re.IGNORECASE)
                probe = re.search(r"1=0|LIMIT 0|pg_|information_schema", sql, re.IGNORECASE)
                true(not asks or probe or done.rowcount > 0, "no rows")
            except psycopg.Error as error:
                equal((error.sqlstate, str(error).splitlines()[0][:120]) if refused is None else error.sqlstate, refused)
            else:
                true(refused is None, "not refused")

        words = re.sub(r"\s+", " ", re.sub(r"--.*", "", sql)).strip()
        way = "extended" if extended else "simple"
        suite.check(f"{number}, {way}: {words[:60]}")(run)
    connection.close()


for name in sys.argv[1:] or NAMES:
    if os.path.exists(os.path.join(FOLDER, f"{name}.sql")):
        suite = Suite(NAMES[name])
        for extended in (False, True):
            replay(suite, name, extended)
