"""OpenDP with Polars, over the Parquet files, at its best: each measurement is prepared before anybody asks.

Preparing one takes a second or two, for it searches the scale of the noise; a new condition would need it again. Here the
condition is put on the rows that a prepared measurement is given, as joins are too, so that only measuring is timed.
It is told the names of the groups and how large they may get, and needs no delta then. Hours are quarters, as whole numbers: its
sums of floats lose more.
"""

import importlib.metadata
import warnings

import polars
from polars import col, scan_parquet

warnings.filterwarnings("ignore")

import opendp.prelude as dp  # once it is told to be quiet

from privacy import ANSWERS, DELTA, EPSILON, each_rho
from questions import EVENTS_PER_PERSON, ROWS_PER_PERSON, UPPER

VERSION = f"OpenDP {importlib.metadata.version('opendp')} with Polars {polars.__version__}"
PREPARED = "prepared beforehand, and told the groups' names"
NOTES = {name: PREPARED for name in ("Q1", "Q3", "Q5")}
NOTES |= {"Q2": PREPARED + "; a sum divided by a count afterwards", "Q6": PREPARED + "; two counts divided afterwards"}
NOTES |= {name: PREPARED + "; rows joined beforehand" for name in ("Q2j", "Q4")}

dp.enable_features("contrib")
PERSON = dp.unit_of(contributions=1, identifier=col("person_id"))
# Laplace noise for one answer, Gaussian where several share the budget: what is less.
LOSS = dp.loss_of(epsilon=EPSILON) if ANSWERS == 1 else dp.loss_of(rho=each_rho(DELTA))
QUARTERS = lambda hours: (col(hours) * 4).cast(polars.Int32)


def about(frame, **margin):
    """A question about the rows of `frame`; `margin` is what is known of its groups."""
    margins = [dp.polars.Margin(**margin)] if margin else []
    context = dp.Context.compositor(data=frame, privacy_unit=PERSON, privacy_loss=LOSS, split_evenly_over=1, margins=margins)
    return context.query()


def asker(frame, query, value, keys):
    """Asks the prepared question about the rows that meet a new condition."""
    measurement = query.resolve()
    return lambda n: measurement(frame.filter(col("country") != f"X{n}")).collect().select(*keys, value).rows()


def prepare(files):
    people, pw, pwf, events = (scan_parquet(f"{files}/{name}.parquet") for name in ("people", "pw", "pwf", "events"))
    persons = people.select(polars.len()).collect().item()
    named = lambda *keys: people.select(keys).unique().collect().lazy()
    weeks = polars.LazyFrame({"week": range(52)}, schema={"week": polars.Int32})
    functions, places, levels = named("function"), named("function", "country"), named("level")
    orgs_kinds = named("org").join(polars.LazyFrame({"many": [False, True]}), how="cross").collect().lazy()
    places_weeks = named("country").join(weeks, how="cross").collect().lazy()
    flat = pwf.with_columns(QUARTERS("after_hours"), QUARTERS("email_hours"))
    star = pw.join(people, on="person_id").with_columns(QUARTERS("after_hours"))
    joined = events.join(people, on="person_id").select("person_id", "function", "country")
    at_most = lambda hours: (0, UPPER[hours] * 4)
    count = dp.len(signed=True).alias("n")

    def persons_by_function():
        query = about(pwf).truncate_per_group(1).group_by("function").agg(count)
        return asker(pwf, query.with_keys(functions), "n", ["function"])

    def mean_by_place(frame):
        keys = ["function", "country"]
        query = about(frame, by=keys, max_length=persons * ROWS_PER_PERSON).truncate_per_group(ROWS_PER_PERSON)
        sums = query.group_by(keys).agg(col("after_hours").dp.sum(at_most("after_hours")), count)
        mean = (col("after_hours") / 4 / col("n").clip(1)).alias("v")
        return asker(frame, sums.with_keys(places), mean, keys)

    def sum_by_week():
        keys = ["country", "week"]
        query = about(flat, by=keys, max_length=persons).truncate_per_group(ROWS_PER_PERSON)
        sums = query.group_by(keys).agg(col("email_hours").dp.sum(at_most("email_hours")))
        return asker(flat, sums.with_keys(places_weeks), (col("email_hours") / 4).alias("v"), keys)

    def events_by_function():
        query = about(joined).truncate_per_group(EVENTS_PER_PERSON).group_by("function").agg(count)
        return asker(joined, query.with_keys(functions), "n", ["function"])

    def median_by_level():
        query = about(pwf, by=["level"], max_length=persons * ROWS_PER_PERSON).truncate_per_group(ROWS_PER_PERSON)
        candidates = [hours / 2 for hours in range(2 * UPPER["meeting_hours"] + 1)]
        median = query.group_by("level").agg(col("meeting_hours").dp.median(candidates).alias("v"))
        return asker(pwf, median.with_keys(levels), "v", ["level"])

    def share_by_org():
        """Persons of either kind, divided afterwards. Its `truncate_num_groups(1)` would keep no group at all."""
        own = about(pwf).group_by("person_id").agg(col("focus_hours").mean(), col("org").first())
        kinds = own.with_columns(many=col("focus_hours") > 10).group_by("org", "many").agg(count)
        measured = asker(pwf, kinds.with_keys(orgs_kinds), "n", ["org", "many"])

        def ask(n):
            persons = {}
            for org, many, number in measured(n):
                persons.setdefault(org, [0, 0])[many] = max(number, 0)
            return [(org, many / max(few + many, 1)) for org, (few, many) in persons.items()]

        return ask

    return {
        "Q1": persons_by_function(),
        "Q2": mean_by_place(flat),
        "Q2j": mean_by_place(star),
        "Q3": sum_by_week(),
        "Q4": events_by_function(),
        "Q5": median_by_level(),
        "Q6": share_by_org(),
    }
