"""dbt-postgres: `run` of view models as an administrator, again and changed; `debug`, `docs generate` and `show` as an analyst."""

import os
import subprocess
import sys
import tempfile

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, Suite, true

suite = Suite("dbt-postgres")
folder = tempfile.mkdtemp()
os.makedirs(os.path.join(folder, "models"))
os.makedirs(os.path.join(folder, "macros"))


def write(name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


write("dbt_project.yml", """
name: company
version: '1.0'
profile: paravent
model-paths: [models]
flags: {send_anonymous_usage_stats: false}
models: {+persist_docs: {relation: true, columns: true}}
""")
MODEL = """
{{ config(materialized='view', grants={'select': ['insights_analyst']}) }}
SELECT function, level, %s AS hours
FROM {{ source('people', 'person') }} JOIN {{ source('people', 'person_week') }} USING (person_id)
"""
write("models/dbt_week.sql", MODEL % "after_hours")
write("models/dbt_busy.sql", "SELECT function, hours FROM {{ ref('dbt_week') }} AS week WHERE hours > 5")
write("models/sources.yml", """
sources:
  - name: people
    schema: public
    tables: [{name: person}, {name: person_week}]
models:
  - name: dbt_week
    description: weeks of persons, 'as they are'
    columns: [{name: hours, description: "after 6 o'clock"}]
""")
target = "{{type: postgres, host: {}, port: {}, dbname: {}, schema: public, threads: 1, user: {}, password: {}}}"
write("profiles.yml", f"""
paravent:
  target: analyst
  outputs:
    analyst: {target.format(HOST, PORT, DATABASE, *ANALYST)}
    admin: {target.format(HOST, PORT, DATABASE, *ADMIN)}
""")


def dbt(*words, fails=False):
    program = os.path.join(os.path.dirname(sys.executable), "dbt")
    done = subprocess.run(
        [program, "--no-use-colors", *words, "--profiles-dir", folder, "--project-dir", folder],
        capture_output=True, text=True, timeout=180, cwd=folder, env=dict(os.environ, DO_NOT_TRACK="1"),
    )
    true(fails or done.returncode == 0, done.stdout[-600:] + done.stderr[-200:])
    return done.stdout


@suite.check("debug")
def _():
    true("All checks passed" in dbt("debug"), "checks")


@suite.check("run of view models")
def _():
    true("PASS=2" in dbt("run", "--target", "admin"), "two models")
    asked = "SELECT function, avg(hours) AS hours, count(*) AS n FROM {{ ref('dbt_week') }} GROUP BY function"
    true("Sales" in dbt("show", "--limit", "20", "--inline", asked), "an analyst asks the view")


@suite.check("run again, with a model changed")
def _():
    write("models/dbt_week.sql", MODEL % "meeting_hours")
    true("PASS=2" in dbt("run", "--target", "admin"), "two models")
    true("PASS=1" in dbt("run", "--target", "admin", "--select", "dbt_busy"), "one model")
    listed = dbt("show", "--target", "admin", "--limit", "20", "--inline",
                 "SELECT viewname, definition FROM pg_views WHERE viewname LIKE 'dbt%'")
    true("dbt_week" in listed and "dbt_busy" in listed and "backup" not in listed and "tmp" not in listed, listed)


@suite.check("docs generate")
def _():
    dbt("docs", "generate", "--empty-catalog")
    dbt("docs", "generate")
    catalog = open(os.path.join(folder, "target", "catalog.json"), encoding="utf-8").read()
    for word in ["after_hours", "dbt_week", "weeks of persons, 'as they are'", "after 6 o'clock"]:
        true(word in catalog, f"no {word} in the catalog")


@suite.check("show")
def _():
    true("persons" in dbt("show", "--inline", "SELECT function, count(*) AS persons FROM person GROUP BY function"), "rows")


@suite.check("run-operation: views dropped")
def _():
    write("macros/drop.sql", "{% macro drop() %}{% do run_query('DROP VIEW dbt_week CASCADE; COMMIT') %}{% endmacro %}")
    dbt("run-operation", "drop", "--target", "admin")
    true("dbt_" not in dbt("show", "--inline", "SELECT viewname FROM pg_views"), "a view is left")


@suite.check("refused, then usable")
def _():
    printed = dbt("show", "--inline", "SELECT * FROM person", fails=True)
    true("not released" in printed or "not supported" in printed, printed[-300:])
    dbt("debug")
