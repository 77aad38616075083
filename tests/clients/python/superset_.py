"""Apache Superset: a real one, with SQLite for its own data. A connection, data sets, a chart with a filter and a time grain,
by its REST API; the chart and a dashboard drawn in headless Chromium, kept as pictures; SQL Lab, and what it shows of a refusal."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import psycopg2
import requests
from playwright.sync_api import sync_playwright

from harness import ADMIN, ANALYST, DATABASE, HOST, PORT, QUESTION, REFUSED, Suite, answer, equal, true

suite = Suite("Superset")
home = tempfile.mkdtemp(prefix="superset-")
artefacts = os.path.join(os.environ.get("CLIENTS_FOLDER", home), "artefacts")
os.makedirs(artefacts, exist_ok=True)
USER, PASSWORD = "admin", "admin"
SECONDS = 120

with open(os.path.join(home, "superset_config.py"), "w", encoding="utf-8") as file:
    file.write(f"""
SECRET_KEY = "of a test, on a loopback address"
SQLALCHEMY_DATABASE_URI = "sqlite:///{home}/superset.db"
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
""")
environment = {
    name: value for name, value in os.environ.items() if not name.startswith("PG")
} | {
    "FLASK_APP": "superset.app:create_app()",
    "SUPERSET_CONFIG_PATH": os.path.join(home, "superset_config.py"),
    "SUPERSET_HOME": home,
}


def program(name):
    return os.path.join(os.path.dirname(sys.executable), name)


def superset(*words):
    done = subprocess.run(
        [program("superset"), *words], env=environment, cwd=home, capture_output=True, text=True, timeout=300
    )
    true(done.returncode == 0, done.stderr[-300:])


class Api:
    """Superset's REST API, signed in as its administrator, with the token that its forms carry."""

    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"
        self.session = requests.Session()

    def sign_in(self):
        who = {"username": USER, "password": PASSWORD, "provider": "db", "refresh": True}
        token = self.session.post(f"{self.base}/api/v1/security/login", json=who, timeout=SECONDS).json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"
        forms = self.session.get(f"{self.base}/api/v1/security/csrf_token/", timeout=SECONDS).json()["result"]
        self.session.headers.update({"X-CSRFToken": forms, "Referer": self.base})

    def get(self, path, **parameters):
        return self.said(self.session.get(f"{self.base}/api/v1/{path}", params=parameters, timeout=SECONDS))

    def post(self, path, body):
        return self.said(self.session.post(f"{self.base}/api/v1/{path}", json=body, timeout=SECONDS))

    def put(self, path, body):
        return self.said(self.session.put(f"{self.base}/api/v1/{path}", json=body, timeout=SECONDS))

    def refused(self, path, body):
        """The text of a failure that must be."""
        answered = self.session.post(f"{self.base}/api/v1/{path}", json=body, timeout=SECONDS)
        true(answered.status_code >= 400 or "error" in answered.text, f"{path} answered {answered.text[:200]}")
        return json.dumps(answered.json(), ensure_ascii=False).replace('\\"', '"').replace("\\n", "\n")

    @staticmethod
    def said(answered):
        true(answered.status_code < 400, f"{answered.status_code}: {answered.text[-400:]}")
        return answered.json()


def administer(*statements):
    connection = psycopg2.connect(host=HOST, port=PORT, dbname=DATABASE, user=ADMIN[0], password=ADMIN[1])
    connection.autocommit = True
    for statement in statements:
        connection.cursor().execute(statement)
    connection.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(port):
    """gunicorn, as Superset's own images run it. It is stopped by its own process id."""
    log = open(os.path.join(home, "log"), "w", encoding="utf-8")
    words = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4", "--timeout", "120"]
    started = subprocess.Popen(
        [program("gunicorn"), *words, environment["FLASK_APP"]], env=environment, cwd=home, stdout=log, stderr=log
    )
    for _ in range(240):
        true(started.poll() is None, open(log.name, encoding="utf-8").read()[-300:])
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).text == "OK":
                return started
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise AssertionError("Superset does not answer")


state = {}
VIEW = "superset_week"
METRICS = [
    {"expressionType": "SIMPLE", "aggregate": "AVG", "column": {"column_name": "after_hours"}, "label": "after hours"},
    {"expressionType": "SQL", "sqlExpression": "avg(meeting_hours)", "label": "meeting hours"},
]


def chart_query(**changes):
    """What a chart of Superset's asks its data set."""
    question = {
        "columns": [
            {"columnType": "BASE_AXIS", "sqlExpression": "week_start", "label": "week_start", "expressionType": "SQL",
             "timeGrain": "P1M"}
        ],
        "metrics": METRICS,
        "filters": [
            {"col": "week_start", "op": "TEMPORAL_RANGE", "val": "2024-01-01 : 2024-12-01"},
            {"col": "function", "op": "IN", "val": ["Sales", "Engineering"]},
        ],
        "extras": {"time_grain_sqla": "P1M", "having": "", "where": ""},
        "orderby": [["week_start", True]],
        "row_limit": 1000,
    }
    return {
        "datasource": {"id": state["view"], "type": "table"},
        "queries": [question | changes],
        "result_format": "json",
        "result_type": "full",
        "force": False,
    }


def data(**changes):
    result = state["api"].post("chart/data", chart_query(**changes))["result"][0]
    true(result["error"] is None, result["error"])
    return result["data"]


def lab(sql):
    return {
        "database_id": state["database"], "sql": sql, "schema": "public", "runAsync": False, "queryLimit": 1000,
        "client_id": os.urandom(4).hex(), "sql_editor_id": "1", "tab": "one",
    }


def draw(base, pages):
    """Opens each page, waits until its chart is there and has ink, and keeps a picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), headless=True,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                  "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(SECONDS * 1000)
        page.goto(f"{base}/login/")
        page.fill("input[name=username], input#username", USER)
        page.fill("input[name=password], input#password", PASSWORD)
        page.click("button[type=submit], input[type=submit]")
        page.wait_for_url(lambda url: "/login" not in url)
        for picture, path in pages.items():
            page.goto(base + path)
            page.wait_for_selector("[data-test=chart-container] canvas, .dashboard-chart canvas, .slice_container canvas")
            page.wait_for_function(INK)
            time.sleep(1.5)
            page.screenshot(path=os.path.join(artefacts, picture))
            true(page.query_selector(".chart-container .ant-alert-error, .alert-danger") is None, "an error is shown")
        browser.close()

# More colours than the axes alone have: the lines are drawn, and the spinner is gone.
INK = """() => {
    if (document.querySelector('.loading, [data-test=loading-indicator]')) return false;
    return [...document.querySelectorAll('canvas')].some(canvas => {
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        let coloured = 0;
        for (let i = 0; i < data.length; i += 4) {
            const [r, g, b, a] = data.slice(i, i + 4);
            if (a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 60) coloured += 1;
        }
        return coloured > 300;
    });
}"""


@suite.check("installed and started")
def _():
    superset("db", "upgrade")
    superset(*"fab create-admin --firstname A --lastname B --email a@example.org".split(),
             "--username", USER, "--password", PASSWORD)
    superset("init")
    port = free_port()
    state["process"] = start(port)
    state["api"] = Api(port)
    state["api"].sign_in()


if "api" not in state:
    raise SystemExit(0)
api = state["api"]

try:
    administer(
        f"CREATE OR REPLACE VIEW {VIEW} AS SELECT person_id, function, level, country, week_start, after_hours, meeting_hours "
        "FROM person JOIN person_week USING (person_id)",
        f"COMMENT ON VIEW {VIEW} IS 'weeks of persons'",
        f"GRANT SELECT ON {VIEW} TO insights_analyst",
    )

    @suite.check("database connection")
    def _():
        uri = f"postgresql+psycopg2://{ANALYST[0]}:{ANALYST[1]}@{HOST}:{PORT}/{DATABASE}"
        named = {"database_name": "Paravent", "sqlalchemy_uri": uri}
        api.post("database/test_connection/", named)
        state["database"] = api.post("database/", named | {"expose_in_sqllab": True})["id"]

    @suite.check("schemas, tables, columns")
    def _():
        one = state["database"]
        equal(api.get(f"database/{one}/catalogs/")["result"], [DATABASE])
        true("public" in api.get(f"database/{one}/schemas/")["result"], "no schema public")
        listed = api.get(f"database/{one}/tables/", q="(schema_name:public,force:!t)")["result"]
        kinds = {table["value"]: table["type"] for table in listed}
        equal((kinds.get("person"), kinds.get(VIEW)), ("table", "view"))
        found = api.get(f"database/{one}/table_metadata/", name="person_week", schema="public")
        types = {column["name"]: column["longType"] for column in found["columns"]}
        equal((types["week_start"], types["after_hours"]), ("DATE", "DOUBLE_PRECISION"))
        api.get(f"database/{one}/function_names/")

    @suite.check("data sets of a table and of a view")
    def _():
        for kind, table in {"table": "person_week", "view": VIEW}.items():
            made = api.post("dataset/", {"database": state["database"], "schema": "public", "table_name": table})
            state[kind] = made["id"]
            columns = api.get(f"dataset/{made['id']}")["result"]["columns"]
            temporal = [column["column_name"] for column in columns if column["is_dttm"]]
            equal(temporal, ["week_start"])

    @suite.check("data set of a query")
    def _():
        sql = "SELECT function, country, count(*) AS persons FROM person GROUP BY function, country"
        made = api.post("dataset/", {
            "database": state["database"], "schema": "public", "table_name": "persons_by_country", "sql": sql,
        })
        columns = api.get(f"dataset/{made['id']}")["result"]["columns"]
        equal({column["column_name"]: column["type"] for column in columns}["persons"], "LONGINTEGER")
        state["virtual"] = made["id"]
        question = {"columns": ["country"], "filters": [], "orderby": [["persons", False]], "row_limit": 10, "metrics": [
            {"expressionType": "SIMPLE", "aggregate": "SUM", "column": {"column_name": "persons"}, "label": "persons"}
        ]}
        body = chart_query() | {"datasource": {"id": made["id"], "type": "table"}, "queries": [question]}
        true(len(api.post("chart/data", body)["result"][0]["data"]) >= 3, "countries")

    @suite.check("chart data: time grain, time range, filter")
    def _():
        months = data()
        equal(len(months), 11)
        true(all(0 <= row["after hours"] <= 20 and 0 <= row["meeting hours"] <= 60 for row in months), months[:1])
        for grain in ["P1D", "P1W", "P3M", "P1Y"]:
            axis = chart_query()["queries"][0]["columns"][0] | {"timeGrain": grain}
            extras = {"time_grain_sqla": grain, "having": "", "where": ""}
            true(data(columns=[axis], extras=extras), grain)

    @suite.check("chart data: table, big number, totals, calculated column, having")
    def _():
        everybody = {"columns": [], "orderby": [], "filters": []}
        true(len(data(**everybody)) == 1, "a big number")
        by_function = {"columns": ["function"], "filters": [], "orderby": [[METRICS[0], False]]}
        true(len(data(**by_function)) >= 5, "a table")
        band = {"label": "band", "expressionType": "SQL",
                "sqlExpression": "CASE WHEN level LIKE 'L1%' THEN 'junior' ELSE 'senior' END"}
        true({row["band"] for row in data(columns=[band], filters=[], orderby=[])} == {"junior", "senior"}, "bands")
        having = {"having": "count(DISTINCT person_id) > 1000", "where": "country <> 'XX'", "time_grain_sqla": None}
        true(data(**by_function | {"extras": having}), "having")
        data(columns=["function"], metrics=["count"], filters=[{"col": "level", "op": "!=", "val": "L4 director"},
             {"col": "function", "op": "LIKE", "val": "%e%"}, {"col": "country", "op": "IS NOT NULL"}], orderby=[])
        series = by_function | {"series_limit": 3, "series_columns": ["function"], "series_limit_metric": METRICS[0]}
        true(len({row["function"] for row in data(**series | {"columns": chart_query()["queries"][0]["columns"] + ["function"],
                                                             "orderby": []})}) == 3, "three series")

    @suite.check("values for a filter")
    def _():
        values = api.get(f"datasource/table/{state['view']}/column/function/values/")["result"]
        true("Sales" in values, values)

    @suite.check("chart and dashboard drawn in Chromium")
    def _():
        form = {
            "datasource": f"{state['view']}__table", "viz_type": "echarts_timeseries_line", "x_axis": "week_start",
            "time_grain_sqla": "P1M", "metrics": METRICS, "groupby": [], "row_limit": 1000, "truncate_metric": True,
            "show_legend": True, "rich_tooltip": True,
            "adhoc_filters": [
                {"clause": "WHERE", "subject": "week_start", "operator": "TEMPORAL_RANGE", "expressionType": "SIMPLE",
                 "comparator": "2024-01-01 : 2024-12-01"},
                {"clause": "WHERE", "subject": "function", "operator": "IN", "operatorId": "IN",
                 "expressionType": "SIMPLE", "comparator": ["Sales", "Engineering"]},
            ],
        }
        chart = api.post("chart/", {
            "slice_name": "Hours a week of Sales and Engineering", "viz_type": form["viz_type"],
            "datasource_id": state["view"], "datasource_type": "table", "params": json.dumps(form),
        })["id"]
        position = {
            "DASHBOARD_VERSION_KEY": "v2",
            "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
            "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": ["ROW-1"], "parents": ["ROOT_ID"]},
            "ROW-1": {"type": "ROW", "id": "ROW-1", "children": ["CHART-1"], "parents": ["ROOT_ID", "GRID_ID"],
                      "meta": {"background": "BACKGROUND_TRANSPARENT"}},
            "CHART-1": {"type": "CHART", "id": "CHART-1", "children": [], "parents": ["ROOT_ID", "GRID_ID", "ROW-1"],
                        "meta": {"chartId": chart, "width": 12, "height": 60, "sliceName": "Hours"}},
        }
        board = api.post("dashboard/", {
            "dashboard_title": "Meeting load", "published": True, "position_json": json.dumps(position),
        })["id"]
        api.put(f"chart/{chart}", {"dashboards": [board]})
        draw(api.base, {"superset.png": f"/explore/?slice_id={chart}", "superset_dashboard.png": f"/superset/dashboard/{board}/"})

    @suite.check("SQL Lab")
    def _():
        found = api.post("sqllab/execute/", lab(QUESTION))
        answer([(row["function"], row["persons"], row["hours"]) for row in found["data"]])
        api.post("sqllab/execute/", lab("SHOW privacy.epsilon"))
        found = api.post("sqllab/execute/", lab("EXPLAIN (PRIVACY) " + QUESTION))
        true(len(found["data"]) > 3, "an explanation")
        api.post("sqllab/execute/", lab("SELECT * FROM privacy.budget"))

    @suite.check("refused, then usable")
    def _():
        shown = api.refused("sqllab/execute/", lab(REFUSED))
        for part in ["DETAIL", "HINT", "GROUP BY"]:
            true(part in shown, shown)
        body = chart_query(columns=["person_id", "after_hours"], metrics=[], orderby=[]) | {"result_type": "samples"}
        true("HINT" in api.refused("chart/data", body), "samples of rows are refused with a hint")
        equal(len(data()), 11)
        answer([tuple(row.values()) for row in api.post("sqllab/execute/", lab(QUESTION))["data"]])
finally:
    administer(f"DROP VIEW IF EXISTS {VIEW}")
    state["process"].send_signal(signal.SIGTERM)
    state["process"].wait(30)
    if os.environ.get("CLIENTS_TRACE"):
        shutil.copy(os.path.join(home, "log"), os.path.join(artefacts, "superset.log"))
    shutil.rmtree(home, ignore_errors=True)
