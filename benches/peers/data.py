"""The workload's files: people, person-weeks as a star and flat, events. Made once for each size, from a fixed seed.

In: a folder, numbers of persons and events. Out: the folder with `people`, `pw`, `pwf` and `events` as Parquet, drawn from the
laws of `benches/workload/data.rs` (other random numbers), rows by week, persons in no order.
"""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WEEKS = 52
FIRST_DAY, DAY_SECONDS = 19_723, 86_400  # 2024-01-01
FUNCTIONS = {"Engineering": 0.34, "Sales": 0.22, "Operations": 0.15, "Support": 0.12,
             "Finance": 0.06, "Marketing": 0.06, "HR": 0.03, "Legal": 0.02}
COUNTRIES = "US IN GB DE FR JP CA BR AU NL IE ES IT PL SE SG MX CH NO NZ".split()
LEVELS = ["L6-exec", "L5-vp", "L4-dir", "L3-mgr", "L2-senior", "L1-ic"]
KINDS = {"email": 0.5, "meeting": 0.15, "chat": 0.3, "call": 0.05}


def ensure(folder, persons, events):
    """The folder with the files of that size, made where it is missing."""
    whole = os.path.join(folder, f"workload-{persons}-{events}")
    if os.path.isdir(whole):
        return whole
    print(f"making {persons:,} persons, {persons * WEEKS:,} person-weeks, {events:,} events", flush=True)
    partial = whole + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    random = np.random.default_rng(7)
    people, habits = make_people(persons, random)
    write(partial, "people", [people])
    weeks = lambda seed, flat: make_weeks(people, habits, np.random.default_rng(seed), flat)
    write(partial, "pw", weeks(8, False))
    write(partial, "pwf", weeks(8, True))
    write(partial, "events", make_events(people["person_id"].to_numpy(), events, random))
    os.rename(partial, whole)
    return whole


def make_people(count, random):
    """A tree of managers, eight reports each; an organisation is what is below somebody at depth two."""
    rank = np.arange(count)
    above = (rank - 1) // 8  # of rank 0: -1
    depth = np.zeros(count, np.int64)
    org, at = rank.copy(), above.copy()
    while (at >= 0).any():
        depth += at >= 0
        at = np.where(at >= 0, (at - 1) // 8, -1)
    while (deep := depth[org] > 2).any():
        org[deep] = above[org[deep]]
    ids = random.permutation(count) + 1_000_001
    common = np.arange(1, len(COUNTRIES) + 1) ** -0.9
    people = pa.table({
        "person_id": ids,
        "manager_id": pa.array(ids[above], mask=above < 0),
        "function": random.choice(list(FUNCTIONS), count, p=list(FUNCTIONS.values())),
        "level": np.array(LEVELS)[np.minimum(depth, 5)],
        "country": random.choice(COUNTRIES, count, p=common / common.sum()),
        "org": np.array([f"org_{top:03}" for top in org]),
    })
    meeting = random.gamma(3, 4, count) * np.where(depth < 4, 1.5, 1)
    mail = random.gamma(4, 2, count)
    habits = {
        "email_hours": (mail, 0.5),
        "meeting_hours": (meeting, 0.4),
        "after_hours": (random.gamma(1.5, 2, count), 0.8),
        "focus_hours": (np.clip(28 - meeting + random.normal(0, 4, count), 0, 40), 0.3),
        "call_hours": (mail / 4, 0.8),
        "chats": (random.gamma(2, 40, count), 0.5),
    }
    return people, habits


def make_weeks(people, habits, random, flat):
    count = people.num_rows
    for week in range(WEEKS):
        order = random.permutation(count)
        here = random.random(count) >= 0.06

        def around(name):
            mean, spread = habits[name]
            return np.round(mean[order] * random.lognormal(-spread**2 / 2, spread, count) * 4) / 4 * here

        hours = {name: np.minimum(around(name), 80) for name in habits if name != "chats"}
        table = pa.table({
            "person_id": people["person_id"].to_numpy()[order],
            "week": np.full(count, week, np.int32),
            "week_start": pa.array(np.full(count, FIRST_DAY + 7 * week, np.int32), pa.date32()),
            **hours,
            "email_count": (hours["email_hours"] * random.uniform(5, 12, count)).astype(np.int32),
            "chat_count": around("chats").astype(np.int32),
        })
        if flat:
            of_person = people.select(["function", "level", "country", "org"]).take(pa.array(order))
            for name in of_person.column_names:
                table = table.append_column(name, of_person[name].combine_chunks())
        yield table


def make_events(ids, count, random):
    """Few persons have most of the events."""
    cumulative = np.cumsum(random.lognormal(0, 1, len(ids)))
    for week in range(WEEKS):
        rows = count * (week + 1) // WEEKS - count * week // WEEKS
        who = np.searchsorted(cumulative, random.random(rows) * cumulative[-1]).clip(max=len(ids) - 1)
        start = (FIRST_DAY + 7 * week) * DAY_SECONDS
        times = np.sort(random.integers(0, 7 * DAY_SECONDS, rows)) + start
        kinds = pa.DictionaryArray.from_arrays(
            random.choice(len(KINDS), rows, p=list(KINDS.values())).astype(np.int32), list(KINDS))
        yield pa.table({
            "person_id": ids[who],
            "ts": pa.array(times, pa.timestamp("s")),
            "kind": kinds.cast(pa.string()),
            "minutes": np.round(random.gamma(1.5, 8, rows)).astype(np.float32),
            "participants": (1 + random.poisson(2, rows)).astype(np.int16),
        })


def write(folder, name, tables):
    """Row groups of 250,000 rows at most; zstd 3."""
    writer = None
    for table in tables:
        if writer is None:
            path = os.path.join(folder, name + ".parquet")
            writer = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=3)
        writer.write_table(table, row_group_size=250_000)
    writer.close()
