//! Rows that are shown, spoiled: without their grant, without their masks, without being counted, of somebody else.

use std::sync::Arc;

use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, col, lit};

use super::hand::replaced;
use super::{Bad, COUNTRY, bad};
use crate::policy::{Access, AccessGrant, AccessState, Class, Digester, Level, Policies, RowPolicy};
use crate::query::compile_tests::private_in;
use crate::query::opened::{OpenedKind, RowRecipe, Shows};
use crate::query::private::Private;
use crate::query::{Context, Scopes, Source, SourceKind, Subject, compile_tests, row_rule, verify};

const ROWS: &str = "SELECT w.hours, w.id FROM week AS w WHERE week > 3 ORDER BY hours LIMIT 5";
const BOOK: &str = "SELECT season FROM calendar WHERE week > 3";

fn changed(context: &mut Context, change: impl FnOnce(&mut Policies)) {
    let mut policies = context.policies.as_ref().clone();
    change(&mut policies);
    for (name, known) in &mut context.tables {
        known.table = policies.tables[name].clone();
    }
    context.policies = Arc::new(policies);
}

fn granting(context: &mut Context, change: impl FnOnce(&mut AccessGrant)) {
    let mut grant = AccessGrant {
        id: 1,
        principal: "ann".to_owned(),
        table: "week".to_owned(),
        columns: ["id", "week", "hours"].map(str::to_owned).into(),
        level: Level::Deidentified,
        reason: "a study".to_owned(),
        rights_request: None,
        person: None,
        seconds: 100,
        requested: 0,
        state: AccessState::Approved,
        decided_by: Some("admin".to_owned()),
        decision: None,
        from: Some(0),
        until: Some(100),
    };
    change(&mut grant);
    changed(context, |policies| drop(policies.access.insert(1, grant.clone())));
    context.access.insert(grant.table.clone(), grant);
}

/// De-identified rows under a live grant.
fn rows(context: &mut Context) -> Private {
    granting(context, |_| {});
    private_in(context, ROWS).unwrap()
}

/// A directory with a mask and a condition.
fn book(context: &mut Context) -> Private {
    changed(context, |policies| {
        let table = policies.tables.get_mut("calendar").unwrap();
        table.access = Access::Directory;
        let season = table.columns.iter_mut().find(|column| column.name == "season").unwrap();
        season.rules.mask = Some("partial(1)".to_owned());
        season.rules.visible_when = Some("week = 7".to_owned());
    });
    private_in(context, BOOK).unwrap()
}

/// The same under a row policy.
fn ruled_book(context: &mut Context) -> Private {
    book(context);
    let using = "week > 0".to_owned();
    let rule = RowPolicy { name: "r".to_owned(), roles: Default::default(), using: Some(using), min_group_size: None };
    changed(context, |policies| policies.tables.get_mut("calendar").unwrap().row_policies.push(rule));
    let known = &context.tables["calendar"];
    let expression = crate::query::parse::expression("week > 0").unwrap();
    let rule = row_rule(&context.functions, &known.table, &known.schema, "r", ("week > 0", expression)).unwrap();
    let rules = [("calendar".to_owned(), vec![Arc::new(rule)])].into();
    context.scopes = Scopes::new([&known.table].into_iter(), &Default::default(), rules);
    private_in(context, BOOK).unwrap()
}

/// One person's own rows.
fn own_rows(context: &mut Context) -> Private {
    directing(context, "week", &["id", "week", "hours"]);
    private_in(context, ROWS).unwrap()
}

/// The same of a table whose rows find their person through two others.
fn own_linked_rows(context: &mut Context) -> Private {
    directing(context, "part", &["item", "grams"]);
    private_in(context, "SELECT grams, item FROM part").unwrap()
}

fn directing(context: &mut Context, table: &str, columns: &[&str]) {
    granting(context, |grant| {
        grant.level = Level::Direct;
        grant.table = table.to_owned();
        grant.columns = columns.iter().map(|name| (*name).to_owned()).collect();
        grant.rights_request = Some("request 17".to_owned());
        grant.person = Some("digest".to_owned());
    });
    let subject = Subject::new("digest".to_owned(), Digester::new([7; 32]).unwrap());
    context.subjects.insert(table.to_owned(), subject);
}

/// The plan that makes the rows, with other nodes.
fn made_of(private: &mut Private, with: impl Fn(&LogicalPlan) -> Option<LogicalPlan>) {
    let opened = &mut private.opened[0];
    opened.plan = replaced(opened.plan.clone(), &with);
}

/// A filter without its test of the person.
fn unrestricted(node: &LogicalPlan) -> Option<LogicalPlan> {
    let LogicalPlan::Filter(filter) = node else { return None };
    let parts = split_conjunction(&filter.predicate);
    let kept = parts.iter().filter(|part| !part.to_string().starts_with("of_subject")).map(|part| (*part).clone());
    let kept = conjunction(kept.collect::<Vec<_>>())?;
    LogicalPlanBuilder::from(filter.input.as_ref().clone()).filter(kept).unwrap().build().ok()
}

fn recipe(private: &mut Private) -> &mut RowRecipe {
    match &mut private.opened[0].kind {
        OpenedKind::Granted(recipe) => recipe,
        OpenedKind::Directory { .. } => panic!("no recipe"),
    }
}

/// The topmost projection of the plan that makes the rows, with other expressions.
fn remade(private: &mut Private, change: impl Fn(usize, Expr, &LogicalPlan) -> Expr) {
    let opened = &mut private.opened[0];
    let LogicalPlan::Projection(top) = &opened.plan else { panic!("no projection") };
    let renamed = |(index, expression): (usize, &Expr)| {
        let name = top.schema.field(index).name().clone();
        change(index, expression.clone().unalias(), &top.input).unalias().alias(name)
    };
    let expressions = top.expr.iter().enumerate().map(renamed).collect();
    opened.plan = LogicalPlan::Projection(Projection::try_new(expressions, top.input.clone()).unwrap());
}

fn first_column(below: &LogicalPlan, name: &str) -> Expr {
    let index = below.schema().fields().iter().position(|field| field.name() == name).unwrap();
    Expr::Column(datafusion::common::Column::from(below.schema().qualified_field(index)))
}

#[test]
fn honest_rows_are_proven() {
    for make in [rows, book, ruled_book, own_rows, own_linked_rows] {
        let mut context = compile_tests::context(ROWS);
        let private = make(&mut context);
        assert_eq!(private.opened.len(), 1);
        verify(&context, private).unwrap();
    }
}

pub(super) fn cases() -> Vec<Bad> {
    [grants(), recipes(), own(), directories()].into_iter().flatten().collect()
}

fn grants() -> Vec<Bad> {
    const NOT_LIVE: &str = "a grant that is not live";
    vec![
        bad("rows of nobody's grant", COUNTRY, "rows without a grant", |context, private| {
            *private = rows(context);
            context.access.clear();
        }),
        bad("rows after the grant's end", COUNTRY, NOT_LIVE, |context, private| {
            *private = rows(context);
            granting(context, |grant| grant.until = Some(0));
        }),
        bad("rows before a decision", COUNTRY, NOT_LIVE, |context, private| {
            *private = rows(context);
            granting(context, |grant| grant.state = AccessState::Requested);
        }),
        bad("rows of somebody else's grant", COUNTRY, NOT_LIVE, |context, private| {
            *private = rows(context);
            granting(context, |grant| grant.principal = "bob".to_owned());
        }),
        bad("rows of a grant that the policies do not know", COUNTRY, NOT_LIVE, |context, private| {
            *private = rows(context);
            changed(context, |policies| policies.access.clear());
        }),
        bad("de-identified rows of a direct grant", COUNTRY, NOT_LIVE, |context, private| {
            *private = rows(context);
            granting(context, |grant| grant.level = Level::Direct);
        }),
        bad("a column that was not asked for", COUNTRY, "that the grant does not name", |context, private| {
            *private = rows(context);
            granting(context, |grant| grant.columns.retain(|column| column != "hours"));
        }),
        bad("rows beside a release", COUNTRY, "beside a release", |context, private| {
            private.opened = rows(context).opened;
        }),
    ]
}

fn recipes() -> Vec<Bad> {
    vec![
        bad("a column for another", COUNTRY, "that the grant does not name", |context, private| {
            *private = rows(context);
            remade(
                private,
                |index, expression, below| if index == 1 { first_column(below, "hours") } else { expression },
            );
        }),
        bad("a person who is none", COUNTRY, "whose person is not known", |context, private| {
            *private = rows(context);
            remade(
                private,
                |index, expression, below| if index == 3 { first_column(below, "week") } else { expression },
            );
        }),
        bad("a lower floor for rows", COUNTRY, "less protection", |context, private| {
            *private = rows(context);
            recipe(private).floor -= 1;
        }),
        bad("less noise in rows", COUNTRY, "less protection", |context, private| {
            *private = rows(context);
            recipe(private).noise /= 2.0;
        }),
        bad("more rows than the cap", COUNTRY, "less protection", |context, private| {
            *private = rows(context);
            recipe(private).cap += 1;
        }),
        bad("a measure without noise", COUNTRY, "more than its class allows", |context, private| {
            *private = rows(context);
            recipe(private).columns[2].shows = Shows::Measure;
        }),
        bad("an identifier as it is", COUNTRY, "more than its class allows", |context, private| {
            *private = rows(context);
            recipe(private).columns[0].shows = Shows::Attribute;
        }),
        bad("a column that became sensitive", COUNTRY, "more than its class allows", |context, private| {
            *private = rows(context);
            changed(context, |policies| {
                let table = policies.tables.get_mut("week").unwrap();
                table.columns.iter_mut().find(|c| c.name == "week").unwrap().class = Some(Class::Sensitive);
            });
        }),
        bad("rows that are not counted", COUNTRY, "rows that are not counted", |context, private| {
            *private = rows(context);
            let shape = LogicalPlanBuilder::from(private.shape.clone()).project(vec![col("w.hours"), col("w.id")]);
            private.shape = shape.unwrap().build().unwrap();
        }),
        bad("rows that nobody makes", COUNTRY, "rows that nobody makes", |context, private| {
            *private = rows(context);
            private.opened.clear();
        }),
    ]
}

fn own() -> Vec<Bad> {
    const OTHERS: &str = "rows of others than the one person";
    const WITHOUT: &str = "without the person who asked";
    vec![
        bad("everybody's rows for one person's request", COUNTRY, OTHERS, |context, private| {
            *private = own_rows(context);
            made_of(private, unrestricted);
        }),
        bad("everybody's linked rows for one person's request", COUNTRY, OTHERS, |context, private| {
            *private = own_linked_rows(context);
            made_of(private, unrestricted);
        }),
        bad("rows of another person than the grant names", COUNTRY, OTHERS, |context, private| {
            *private = own_rows(context);
            granting(context, |grant| {
                grant.level = Level::Direct;
                grant.rights_request = Some("request 17".to_owned());
                grant.person = Some("another".to_owned());
            });
        }),
        bad("a test of another column than the person key", COUNTRY, OTHERS, |context, private| {
            *private = own_rows(context);
            let subject = context.subjects["week"].clone();
            made_of(private, move |node| {
                let bare = unrestricted(node)?;
                LogicalPlanBuilder::from(bare).filter(subject.of(first_column(node, "week"))).unwrap().build().ok()
            });
        }),
        bad("one person's rows or another's", COUNTRY, OTHERS, |context, private| {
            *private = own_rows(context);
            made_of(private, |node| {
                let LogicalPlan::Filter(filter) = node else { return None };
                let either = filter.predicate.clone().or(first_column(node, "week").gt(lit(3)));
                LogicalPlanBuilder::from(filter.input.as_ref().clone()).filter(either).unwrap().build().ok()
            });
        }),
        bad("one person's rows beside a public table's", COUNTRY, "made of something else", |context, private| {
            *private = own_rows(context);
            let public = super::hand::public(context, "calendar").build().unwrap();
            let opened = &mut private.opened[0];
            let LogicalPlan::Projection(top) = &opened.plan else { panic!("no projection") };
            let below = LogicalPlanBuilder::from(top.input.as_ref().clone()).cross_join(public).unwrap();
            opened.plan = below.project(top.expr.clone()).unwrap().build().unwrap();
        }),
        bad("linked rows that were joined to anybody", COUNTRY, "before the person is known", |context, private| {
            *private = own_linked_rows(context);
            made_of(private, |node| {
                let LogicalPlan::Join(join) = node else { return None };
                let join = datafusion::logical_expr::Join { on: vec![], ..join.clone() };
                Some(LogicalPlan::Join(join))
            });
        }),
        bad("rows as they are, for nobody's request", COUNTRY, WITHOUT, |context, private| {
            *private = own_rows(context);
            granting(context, |grant| {
                grant.level = Level::Direct;
                grant.person = Some("digest".to_owned());
            });
        }),
        bad("rows as they are, that their asker approved", COUNTRY, WITHOUT, |context, private| {
            *private = own_rows(context);
            granting(context, |grant| {
                grant.level = Level::Direct;
                grant.person = Some("digest".to_owned());
                grant.rights_request = Some("request 17".to_owned());
                grant.decided_by = Some("ann".to_owned());
            });
        }),
        bad(
            "rows as they are, under a de-identified grant",
            COUNTRY,
            "a grant that is not live",
            |context, private| {
                *private = own_rows(context);
                granting(context, |_| {});
            },
        ),
        bad(
            "de-identified rows that show a value as it is",
            COUNTRY,
            "more than its class allows",
            |context, private| {
                *private = rows(context);
                recipe(private).columns[2].shows = Shows::Own;
            },
        ),
        bad("a hidden column of one's own", COUNTRY, "more than its class allows", |context, private| {
            *private = own_rows(context);
            changed(context, |policies| {
                let table = policies.tables.get_mut("week").unwrap();
                table.columns.iter_mut().find(|c| c.name == "hours").unwrap().class = Some(Class::Hidden);
            });
        }),
        bad("somebody else's identifier as it is", COUNTRY, "more than its class allows", |context, private| {
            *private = own_linked_rows(context);
            recipe(private).columns[0].shows = Shows::Own;
        }),
        bad("more own rows than the cap", COUNTRY, "less protection", |context, private| {
            *private = own_rows(context);
            recipe(private).cap += 1;
        }),
    ]
}

fn directories() -> Vec<Bad> {
    const POLICIES: &str = "a directory without its row policies";
    vec![
        bad("a directory's rows that a policy takes away", COUNTRY, POLICIES, |context, private| {
            *private = ruled_book(context);
            let opened = &mut private.opened[0];
            let LogicalPlan::Projection(top) = &opened.plan else { panic!("no projection") };
            let LogicalPlan::Filter(filter) = top.input.as_ref() else { panic!("no filter") };
            opened.plan = LogicalPlan::Projection(Projection::try_new(top.expr.clone(), filter.input.clone()).unwrap());
        }),
        bad("a directory's rows in spite of a new policy", COUNTRY, "under other row policies", |context, private| {
            *private = ruled_book(context);
            changed(context, |policies| {
                let rules = &mut policies.tables.get_mut("calendar").unwrap().row_policies;
                rules.push(RowPolicy { name: "later".to_owned(), ..rules[0].clone() });
            });
        }),
        bad("a policy that anything else satisfies", COUNTRY, POLICIES, |context, private| {
            *private = ruled_book(context);
            let opened = &mut private.opened[0];
            opened.plan = replaced(opened.plan.clone(), &|node| {
                let LogicalPlan::Filter(filter) = node else { return None };
                let either = filter.predicate.clone().or(first_column(node, "week").gt(lit(3)));
                LogicalPlanBuilder::from(filter.input.as_ref().clone()).filter(either).unwrap().build().ok()
            });
        }),
        bad("a policy of another column", COUNTRY, "a row policy of other columns", |context, private| {
            *private = ruled_book(context);
            let opened = &mut private.opened[0];
            opened.plan = replaced(opened.plan.clone(), &|node| {
                let LogicalPlan::Filter(filter) = node else { return None };
                let Expr::ScalarFunction(call) = &filter.predicate else { return None };
                let other = call.func.call(vec![first_column(node, "season"); call.args.len()]);
                LogicalPlanBuilder::from(filter.input.as_ref().clone()).filter(other).unwrap().build().ok()
            });
        }),
        bad("a directory without a mask", COUNTRY, "without its mask", |context, private| {
            *private = book(context);
            remade(private, |_, expression, below| match expression {
                Expr::Case(_) => first_column(below, "season"),
                other => other,
            });
        }),
        bad("a value on both sides of a condition", COUNTRY, "without its mask", |context, private| {
            *private = book(context);
            remade(private, |_, expression, below| match expression {
                Expr::Case(mut case) => {
                    case.else_expr = Some(Box::new(first_column(below, "season")));
                    Expr::Case(case)
                }
                other => other,
            });
        }),
        bad("a condition that was taken away", COUNTRY, "without its mask", |context, private| {
            *private = book(context);
            changed(context, |policies| {
                let table = policies.tables.get_mut("calendar").unwrap();
                table.columns.iter_mut().for_each(|column| column.rules.visible_when = None);
            });
        }),
        bad("a directory made of persons' rows", COUNTRY, "what is no directory", |context, private| {
            *private = book(context);
            let source = Source::new(SourceKind::Protected("week".to_owned()), context.tables["week"].schema.clone());
            let persons = LogicalPlanBuilder::scan("week", Arc::new(source), None).unwrap().build().unwrap();
            let opened = &mut private.opened[0];
            let LogicalPlan::Projection(top) = &opened.plan else { panic!("no projection") };
            let below = LogicalPlanBuilder::from(top.input.as_ref().clone()).cross_join(persons).unwrap();
            opened.plan = below.project(top.expr.clone()).unwrap().build().unwrap();
        }),
        bad("a directory's column that is not granted", COUNTRY, "that is not granted", |context, private| {
            *private = book(context);
            changed(context, |policies| policies.grants.clear());
        }),
        bad("a directory that is protected now", COUNTRY, "a directory that is none", |context, private| {
            *private = book(context);
            let people = Access::Protected { policy: "people".to_owned(), person_key: "week".to_owned() };
            changed(context, |policies| policies.tables.get_mut("calendar").unwrap().access = people);
        }),
        bad("a directory's rows as they are", COUNTRY, "a protected table above", |context, private| {
            *private = book(context);
            let source =
                Source::new(SourceKind::Directory("calendar".to_owned()), context.tables["calendar"].schema.clone());
            let raw = LogicalPlanBuilder::scan("calendar", Arc::new(source), None).unwrap().build().unwrap();
            private.shape = raw;
        }),
    ]
}
