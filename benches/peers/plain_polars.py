"""Polars over the Parquet files, by its streaming engine, without any privacy."""

import polars
from polars import col, scan_parquet

VERSION = f"Polars {polars.__version__}, plain"


def prepare(files):
    people, pw, pwf, events = (scan_parquet(f"{files}/{name}.parquet") for name in ("people", "pw", "pwf", "events"))
    new = lambda frame, n: frame.filter(col("country") != f"X{n}")
    frames = {
        "Q1": lambda n: new(pwf, n).group_by("function").agg(col("person_id").n_unique()),
        "Q2": lambda n: new(pwf, n).group_by("function", "country").agg(col("after_hours").mean()),
        "Q2j": lambda n: pw.join(new(people, n), on="person_id").group_by("function", "country")
        .agg(col("after_hours").mean()),
        "Q3": lambda n: new(pwf, n).group_by("country", "week").agg(col("email_hours").sum()),
        "Q4": lambda n: events.join(new(people, n), on="person_id").group_by("function").agg(polars.len()),
        "Q5": lambda n: new(pwf, n).group_by("level").agg(col("meeting_hours").median()),
        "Q6": lambda n: new(pwf, n).group_by("person_id", "org").agg(col("focus_hours").mean())
        .group_by("org").agg((col("focus_hours") > 10).mean()),
    }
    asker = lambda frame: lambda n: frame(n).collect(engine="streaming").rows()
    return {name: asker(frame) for name, frame in frames.items()}
