//! Noise, floor, threshold and charge, spoiled.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use paravent_udfs::{
    AdditiveNoise, BoundGroups, Delta, DiscreteLaplace, Epsilon, Estimate, Gaussian, Rho, What, dp_count, dp_persons,
};

use super::hand::{columns, input, public, replace, restate, scan_as, spec};
use super::{
    Bad, COUNTRY, JOINED, LAPLACE_COUNTRY, LAPLACE_SHARE, LAPLACE_WEEKS, MAIL, NESTED, PART, PERSONS_SHARE, PROFILE,
    SHARE, TWO, WEEKS, bad,
};
use crate::query::SourceKind;
use crate::query::private::Private;

const CHEAP: &str = "the noise is smaller than the price";
const MEDIAN: &str = "SELECT median(hours) FROM week";
const SELECTION: &str = "a threshold that delta does not pay for";

fn half(noise: &AdditiveNoise) -> AdditiveNoise {
    let AdditiveNoise::Gaussian(gaussian) = noise else { panic!("{noise:?}") };
    let (numerator, denominator) = gaussian.variance();
    Gaussian::with_variance(numerator, denominator * 4)
        .or_else(|_| Gaussian::with_variance(numerator / 4, denominator))
        .unwrap()
        .into()
}

/// The n-th argument of every call of `name`, replaced.
fn argument(private: &mut Private, name: &str, index: usize, with: Expr) {
    calls(private, name, |call| call.params.args[index] = with.clone());
}

fn calls(private: &mut Private, name: &str, change: impl Fn(&mut AggregateFunction)) {
    restate(private, |states| {
        for expression in &mut states.aggr_expr {
            if let Expr::Alias(alias) = expression
                && let Expr::AggregateFunction(call) = alias.expr.as_mut()
                && call.func.name() == name
            {
                change(call);
            }
        }
    });
}

/// Over `__u` and whatever else, with another bound on the groups.
fn bounded(private: &mut Private, person: &'static str, groups: impl Fn(u64) -> u64) {
    replace(private, |node| {
        let LogicalPlan::Extension(extension) = node else { return None };
        let bound = extension.node.as_any().downcast_ref::<BoundGroups>()?;
        let changed = BoundGroups::try_new(bound.input().clone(), col(person), groups(bound.max_groups()));
        Some(changed.unwrap().into_plan())
    });
}

fn unbounded(private: &mut Private) {
    replace(private, |node| match node {
        LogicalPlan::Extension(extension) if extension.node.name() == "BoundGroups" => {
            Some(extension.node.inputs()[0].clone())
        }
        _ => None,
    });
}

pub(super) fn cases() -> Vec<Bad> {
    let mut cases = noise();
    cases.extend(bounds());
    cases.extend(shares());
    cases.extend(selection());
    cases.extend(groups());
    cases.extend(charges());
    cases
}

fn noise() -> Vec<Bad> {
    vec![
        bad("half the noise of the only measurement", COUNTRY, CHEAP, |_, private| {
            spec(private, |spec| spec.measurements[0].noise = half(&spec.measurements[0].noise));
        }),
        bad("half the noise of one measurement", WEEKS, CHEAP, |_, private| {
            spec(private, |spec| spec.measurements[1].noise = half(&spec.measurements[1].noise));
        }),
        bad("half the Laplace noise of one measurement", LAPLACE_WEEKS, CHEAP, |_, private| {
            spec(private, |spec| {
                let AdditiveNoise::Laplace(laplace) = spec.measurements[1].noise else { panic!("no Laplace noise") };
                let scale = (laplace.scale() / 2.0 * 1024.0) as u64;
                spec.measurements[1].noise = DiscreteLaplace::with_scale(scale, 1024).unwrap().into();
            });
        }),
        bad("Gaussian noise at the price of an epsilon", LAPLACE_COUNTRY, CHEAP, |_, private| {
            let rho = private.releases[0].facts.rho;
            spec(private, |spec| spec.measurements[0].noise = Gaussian::for_sensitivity(1, rho).unwrap().into());
        }),
        bad("an epsilon that does not pay", LAPLACE_COUNTRY, CHEAP, |_, private| {
            let facts = &mut private.releases[0].facts;
            facts.epsilon = Some(Epsilon::new(facts.epsilon.unwrap().get() * 0.99).unwrap());
        }),
        bad("a rho of Laplace noise that does not pay", LAPLACE_COUNTRY, CHEAP, |_, private| {
            let facts = &mut private.releases[0].facts;
            facts.rho = Rho::new(facts.rho.get() * 0.99).unwrap();
        }),
        bad("an epsilon for Gaussian noise", COUNTRY, CHEAP, |_, private| {
            private.releases[0].facts.epsilon = Some(Epsilon::new(1e9).unwrap());
        }),
        bad("one measurement more than was paid for", WEEKS, CHEAP, |_, private| {
            spec(private, |spec| {
                let again = spec.measurements[1].clone();
                spec.measurements.push(again);
            });
        }),
        bad("a price that does not pay", COUNTRY, CHEAP, |_, private| {
            let facts = &mut private.releases[0].facts;
            facts.rho = Rho::new(facts.rho.get() * 0.99).unwrap();
        }),
        bad("a word without noise of its own", WEEKS, "a word that has no price", |_, private| {
            spec(private, |spec| {
                let last = spec.measurements.len() - 1;
                spec.measurements[last].what = What::Word(1);
            });
        }),
        bad("a release that differs from its price", COUNTRY, "the release has changed", |_, private| {
            private.releases[0].spec.threshold += 1;
        }),
    ]
}

fn bounds() -> Vec<Bad> {
    vec![
        bad("more rows a person than were paid for", MAIL, CHEAP, |_, private| {
            argument(private, "dp_count", 1, lit(200_i64));
        }),
        bad("more rows in a sum than were paid for", MAIL, CHEAP, |_, private| {
            argument(private, "dp_sum", 2, lit(101_i64));
        }),
        bad("a larger bound than was paid for", MAIL, CHEAP, |_, private| {
            argument(private, "dp_sum", 3, lit(1001_i64));
        }),
        bad("a bound that is a column", MAIL, "a bound that is not a literal", |_, private| {
            argument(private, "dp_sum", 3, col("__c0"));
        }),
        bad("a bound of nothing", MAIL, "a bound", |_, private| {
            argument(private, "dp_sum", 3, Expr::Literal(ScalarValue::Int64(None), None));
        }),
        bad("a state of some of the rows", MAIL, "a state with a modifier", |_, private| {
            calls(private, "dp_sum", |call| call.params.filter = Some(Box::new(col("__c0").gt(lit(3_i64)))));
        }),
        bad("a state of distinct rows", MAIL, "a state with a modifier", |_, private| {
            calls(private, "dp_sum", |call| call.params.distinct = true);
        }),
    ]
}

/// The two counts of a share, which are one measurement of the sensitivity of a count.
fn shares() -> Vec<Bad> {
    const TREE: &str = "a tree of a state that is no histogram of that size";
    const WORD: &str = "a word that has no price";
    vec![
        bad("half the noise of a share's counts", SHARE, CHEAP, |_, private| {
            spec(private, |spec| spec.measurements[1].noise = half(&spec.measurements[1].noise));
        }),
        bad("less Laplace noise in a share's counts", LAPLACE_SHARE, CHEAP, |_, private| {
            spec(private, |spec| {
                let AdditiveNoise::Laplace(laplace) = spec.measurements[1].noise else { panic!("no Laplace noise") };
                let scale = (laplace.scale() * 0.999 * 1024.0) as u64;
                spec.measurements[1].noise = DiscreteLaplace::with_scale(scale, 1024).unwrap().into();
            });
        }),
        bad("more rows a person in a share than were paid for", SHARE, CHEAP, |_, private| {
            argument(private, "dp_share", 2, lit(54_i64));
        }),
        bad("more rows a person in a share of Laplace noise", LAPLACE_SHARE, CHEAP, |_, private| {
            argument(private, "dp_share", 2, lit(54_i64));
        }),
        bad("a share's bound that is a column", SHARE, "a bound that is not a literal", |_, private| {
            argument(private, "dp_share", 2, col("__c0"));
        }),
        bad("the two counts of a share measured twice", SHARE, CHEAP, |_, private| {
            spec(private, |spec| {
                let again = spec.measurements[1].clone();
                spec.measurements.push(again);
            });
        }),
        bad("one of a share's counts by itself", SHARE, WORD, |_, private| {
            spec(private, |spec| spec.measurements[1].what = What::Word(1));
        }),
        bad("the other of a share's counts by itself", SHARE, WORD, |_, private| {
            spec(private, |spec| spec.measurements[1].what = What::Word(0));
        }),
        bad("the sum and the count of a mean as two counts", JOINED, TREE, |_, private| {
            spec(private, |spec| spec.measurements[1].what = What::TWO_COUNTS);
        }),
        bad("the first leaves of a histogram as two counts", MEDIAN, TREE, |_, private| {
            spec(private, |spec| spec.measurements[1].what = What::TWO_COUNTS);
        }),
        bad(
            "a share of part of the rows that is told by those that fit",
            SHARE,
            "does not count persons",
            |_, private| {
                spec(private, |spec| spec.cells[0].word = 1);
            },
        ),
        bad("a share's part with too low a threshold", SHARE, SELECTION, |_, private| {
            spec(private, |spec| spec.cells[0].threshold = spec.floor as i64 + 1);
        }),
        bad("half the noise of a share that selects", PERSONS_SHARE, CHEAP, |_, private| {
            spec(private, |spec| spec.measurements[0].noise = half(&spec.measurements[0].noise));
        }),
        bad("a share of what is no share's", SHARE, "an output of what is not measured", |_, private| {
            private.releases[0].outputs[0].estimate = Estimate::Share { counts: 0 };
        }),
    ]
}

fn selection() -> Vec<Bad> {
    vec![
        bad("a floor below ten", COUNTRY, "the floor is too low", |_, private| spec(private, |spec| spec.floor = 9)),
        bad("a floor below the setting", COUNTRY, "the floor is too low", |context, _| {
            Arc::make_mut(&mut context.policies).settings.min_group_size = 15;
        }),
        bad("a threshold just above the floor", COUNTRY, SELECTION, |_, private| {
            spec(private, |spec| spec.threshold = spec.floor as i64 + 1);
        }),
        bad("a threshold one too low", WEEKS, SELECTION, |_, private| spec(private, |spec| spec.threshold -= 2)),
        bad("a delta that does not pay", COUNTRY, SELECTION, |_, private| {
            private.releases[0].facts.delta = Delta::new(1e-12).unwrap();
        }),
        bad("a floor that counts rows", MAIL, "a floor that does not count persons", |_, private| {
            restate(private, |states| states.aggr_expr[0] = dp_count(col("__c0"), lit(1_i64)).alias("__a0"));
        }),
        bad("a part's threshold that is too low", PART, SELECTION, |_, private| {
            spec(private, |spec| spec.cells[0].threshold = spec.floor as i64 + 1);
        }),
        bad("a part that counts rows", PART, "a cell that does not count persons", |_, private| {
            spec(private, |spec| spec.cells[0].word = 0);
        }),
        bad("a part that is counted elsewhere", PART, "a cell without a state", |_, private| {
            spec(private, |spec| spec.cells[0].count = 0);
        }),
        bad("a share's threshold that is one too low", PERSONS_SHARE, SELECTION, |_, private| {
            spec(private, |spec| spec.threshold -= 1);
        }),
        bad("a share's threshold as for one draw", PERSONS_SHARE, SELECTION, |_, private| {
            let delta = Delta::new(private.releases[0].facts.delta.get() / 2.0).unwrap();
            spec(private, |spec| {
                let beyond = spec.measurements[0].noise.tail_quantile(delta);
                (spec.threshold, spec.cells[0].threshold) = (10 + beyond, 10 + beyond);
            });
        }),
        bad(
            "a threshold for a share's persons with a value that is one too low",
            PERSONS_SHARE,
            SELECTION,
            |_, private| {
                spec(private, |spec| spec.cells[0].threshold -= 1);
            },
        ),
        bad("a share's part that is told by those that fit", PERSONS_SHARE, "does not count persons", |_, private| {
            spec(private, |spec| spec.cells[0].word = 1);
        }),
        bad("a share that selects among some of the persons", PERSONS_SHARE, "by something else", |_, private| {
            restate(private, |states| states.aggr_expr[0] = dp_persons(col("__c0").gt(lit(0_i64))).alias("__a0"));
        }),
        bad("a floor of all for those who fit", PROFILE, "persons who do not fit", |_, private| {
            restate(private, |states| states.aggr_expr[0] = dp_persons(lit(true)).alias("__a0"));
        }),
    ]
}

fn groups() -> Vec<Bad> {
    const SEVERAL: &str = "a person can reach several groups";
    vec![
        bad("groups without a bound", WEEKS, SEVERAL, |_, private| unbounded(private)),
        bad("groups without a bound that claim one", WEEKS, SEVERAL, |_, private| {
            unbounded(private);
            private.releases[0].facts.max_groups = 1;
        }),
        bad("more groups than were paid for", WEEKS, "", |_, private| bounded(private, "__u", |groups| groups + 1)),
        bad("groups bounded by another column", WEEKS, "bounded by something other", |_, private| {
            bounded(private, "__k0", |groups| groups);
        }),
        bad("a bound under another operator", WEEKS, SEVERAL, |_, private| {
            super::hand::rows(private, |rows| LogicalPlanBuilder::from(rows).alias("again").unwrap().build().unwrap());
        }),
        bad("totals of a person beside their groups", JOINED, "several groupings in one release", |_, private| {
            let spec = &mut private.releases[0].spec;
            (spec.keys, spec.persons) = (spec.keys + 1, spec.persons + 1);
            spec.measurements.iter_mut().for_each(|measurement| measurement.column += 1);
            restate(private, |states| states.group_expr = vec![datafusion::logical_expr::rollup(vec![col("__k0")])]);
        }),
    ]
}

fn charges() -> Vec<Bad> {
    vec![
        bad("a policy that is not charged", COUNTRY, "a policy that is not charged", |_, private| {
            private.releases[0].facts.policies.clear();
        }),
        bad("another policy's charge", COUNTRY, "a policy that is not charged", |_, private| {
            private.releases[0].facts.policies = ["patients".to_owned()].into();
        }),
        bad("rows of persons that call themselves public", NESTED, "not public passes for one", |context, private| {
            replace(private, |node| {
                let public = SourceKind::Public("mail".to_owned());
                super::hand::scans(node, "mail").then(|| scan_as(context, "mail", "mail", public).build().unwrap())
            });
        }),
        bad("public rows that call themselves persons", COUNTRY, "not protected passes for one", |context, private| {
            let claim = SourceKind::Protected("calendar".to_owned());
            let calendar = scan_as(context, "calendar", "calendar", claim);
            let rows = columns(calendar, &[("season", "__k0"), ("week", "__u")]);
            super::hand::rows(private, |_| rows);
        }),
        bad("a release of public rows", COUNTRY, "", |context, private| {
            let rows = columns(public(context, "calendar"), &[("season", "__k0"), ("week", "__u")]);
            super::hand::rows(private, |_| rows);
        }),
        bad("made-up rows for persons", COUNTRY, "", |_, private| {
            let made_up = LogicalPlanBuilder::values(vec![vec![lit("x"), lit(1_i64)]]).unwrap();
            let rows = columns(made_up, &[("column1", "__k0"), ("column2", "__u")]);
            super::hand::rows(private, |_| rows);
        }),
        bad("a release before the one it reads", TWO, "a release that comes later", |_, private| {
            private.releases.swap(0, 1);
        }),
        bad("a release that is no release", COUNTRY, "no release at the root", |context, private| {
            private.releases[0].plan = super::hand::protected(context, "person").build().unwrap();
        }),
        bad("a choice among the states", COUNTRY, "something other than an aggregate", |_, private| {
            input(private, 0, |below| LogicalPlanBuilder::from(below).limit(0, Some(2)).unwrap().build().unwrap());
        }),
        bad("a filter on the states", COUNTRY, "something other than an aggregate", |_, private| {
            input(private, 0, |below| {
                let large =
                    col("__a0").not_eq(Expr::Literal(ScalarValue::FixedSizeBinary(16, Some(vec![0; 16])), None));
                LogicalPlanBuilder::from(below).filter(large).unwrap().build().unwrap()
            });
        }),
        bad("an order of the states", COUNTRY, "something other than an aggregate", |_, private| {
            input(private, 0, |below| {
                let order = vec![col("__a0").sort(true, false)];
                LogicalPlanBuilder::from(below).sort_with_limit(order, Some(3)).unwrap().build().unwrap()
            });
        }),
    ]
}

/// Whatever is done to an exact value between its state and the release: no release reads the result.
#[test]
fn an_exact_value_can_be_nothing_but_released() {
    use datafusion::logical_expr::{case, cast};
    let exact = || col("__a0");
    for touched in [
        cast(exact(), DataType::FixedSizeBinary(16)),
        cast(exact(), DataType::Binary),
        exact().eq(exact()),
        exact().is_null(),
        case(lit(true)).when(lit(true), exact()).otherwise(exact()).unwrap(),
        datafusion::functions::expr_fn::coalesce(vec![exact(), exact()]),
        datafusion::functions::expr_fn::nullif(exact(), exact()),
    ] {
        let (context, mut private) = super::private(COUNTRY).unwrap();
        let release = &mut private.releases[0];
        let below = crate::query::verify::root(&release.plan).unwrap().input().clone();
        let touched_plan = LogicalPlanBuilder::from(below).project(vec![col("__k0"), touched.clone().alias("__a0")]);
        // Some expressions do not even plan.
        let Ok(below) = touched_plan.and_then(LogicalPlanBuilder::build) else { continue };
        if let Ok(node) = paravent_udfs::Release::try_new(below, release.spec.clone()) {
            release.plan = node.into_plan();
            assert!(super::verify(&context, private).is_err(), "{touched} was released");
        }
    }
}
