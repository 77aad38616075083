"""DataFusion, the engine below Paravent, over the Parquet files, without any privacy."""

import datafusion
from datafusion import SessionConfig, SessionContext

from questions import QUESTIONS

VERSION = f"DataFusion {datafusion.__version__}, plain"


def connect(files):
    context = SessionContext(SessionConfig().with_target_partitions(2))
    for table in ("people", "pw", "pwf", "events"):
        context.register_parquet(table, f"{files}/{table}.parquet")
    return context


def rows(context, sql):
    batches = context.sql(sql).collect()
    return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns))]


def prepare(files):
    context = connect(files)
    asker = lambda sql: lambda n: rows(context, sql.format(n=n))
    asked = {name: asker(question.sql) for name, question in QUESTIONS.items()}
    asked["Q5"] = asker(QUESTIONS["Q5"].sql.replace("median(", "approx_median("))
    asked["Q3L0"] = asked["Q3"]
    return asked


NOTES = {"Q5": "approx_median, as its median keeps all values"}
