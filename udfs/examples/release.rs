//! Differentially private aggregates in an ordinary DataFusion context, without the server.
//!
//! Run with `cargo run -p paravent-udfs --example release`. Prices are the caller's: here ε = 1
//! buys ρ = 1/2, half of it for the number of persons and half for the mean.

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::prelude::{DataFrame, SessionContext};
use paravent_udfs::{
    Delta, Epsilon, Estimate, Measurement, Mechanism, Noise, Output, Release, ReleaseSpec, Rho, Sensitivity, What,
    estimates, register,
};
use std::sync::Arc;

/// One row a person: 400 engineers, 80 in sales, 5 in legal. Five is under the floor of ten.
fn persons() -> Result<RecordBatch> {
    let functions = (0..485).map(|i| {
        if i < 400 {
            "engineering"
        } else if i < 480 {
            "sales"
        } else {
            "legal"
        }
    });
    let functions: ArrayRef = Arc::new(functions.map(Some).collect::<StringArray>());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..485));
    let hours: ArrayRef = Arc::new(Float64Array::from_iter_values((0..485).map(|i| f64::from(i % 40))));
    let profile: ArrayRef = Arc::new(BooleanArray::from(vec![true; 485]));
    let columns = [("person_id", ids), ("function", functions), ("hours", hours), ("profile", profile)];
    Ok(RecordBatch::try_from_iter(columns)?)
}

fn spec() -> Result<(ReleaseSpec, Vec<Output>)> {
    let rho = Rho::of_epsilon(Epsilon::new(1.0)?).get();
    // A person is in one group (M = 1). Hours lie within 0..=80, in steps of a half hour around 40:
    // at most 80 steps.
    let noise = |reach| Mechanism::Gaussian.noise(Sensitivity { reach, times: 1 }, rho / 2.0);
    let (persons, hours) = (noise(1)?, noise(80)?);
    let floor = 10;
    let mean = Estimate::Mean { sum: 1, count: 0, mid: 40.0, step: 0.5, lower: 0.0, upper: 80.0 };
    let spec = ReleaseSpec {
        keys: 1,
        floor,
        threshold: 10 + persons.tail_quantile(Delta::new(1e-9)?),
        persons: 1,
        measurements: vec![
            Measurement { column: 1, what: What::Word(0), noise: persons },
            Measurement { column: 2, what: What::Word(0), noise: hours },
        ],
        cells: vec![],
    };
    let outputs = vec![
        Output { name: "persons".to_owned(), estimate: Estimate::Count { count: 0 }, mask: None, cell: None },
        Output { name: "hours".to_owned(), estimate: mean, mask: None, cell: None },
    ];
    Ok((spec, outputs))
}

#[tokio::main]
async fn main() -> Result<()> {
    let ctx = SessionContext::new();
    register(&ctx, Noise::from_os());
    let persons = persons()?;
    let table = MemTable::try_new(persons.schema(), vec![vec![persons]])?;
    ctx.register_table("person", Arc::new(table))?;

    let groups = ctx
        .sql(
            "SELECT function, dp_persons(profile), dp_avg(s, c, 1, 80) FROM ( \
               SELECT person_id, function, bool_or(profile) AS profile, count(hours) AS c, \
                      sum(dp_lattice(hours, 40.0, 0.0, 80.0, 0.5)) AS s \
               FROM person GROUP BY person_id, function) GROUP BY function",
        )
        .await?
        .into_unoptimized_plan();
    let (spec, outputs) = spec()?;
    let release = Release::try_new(groups, spec.clone())?.into_plan();
    let query = DataFrame::new(ctx.state(), release);
    println!("{}", pretty_format_batches(&query.clone().explain(false, false)?.collect().await?)?);

    // What was measured answers any number of questions: here values, standard errors and 95 % intervals.
    let measured = query.collect().await?;
    let measured = concat_batches(&measured[0].schema(), &measured)?;
    println!("{}", pretty_format_batches(&[estimates(&measured, &spec, &outputs, &[0.95])?])?);
    Ok(())
}
