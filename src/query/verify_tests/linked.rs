//! Existence by a link, spoiled: rows that were never led to their person, or that meet another person's.

use datafusion::common::JoinType;
use datafusion::logical_expr::{Join, LogicalPlan, LogicalPlanBuilder, col};
use std::sync::Arc;

use super::hand::{on, protected, replace, scan_as};
use super::{Bad, bad};
use crate::query::private::Private;
use crate::query::{Context, SourceKind};

const THERE: &str = "SELECT shop, count(*) FROM purchase p WHERE EXISTS \
     (SELECT * FROM item i WHERE i.order_id = p.order_id) GROUP BY shop";

/// Which of an item's columns meets the order.
fn there(private: &mut Private, items: LogicalPlanBuilder, met: &str) {
    let items = items.build().unwrap();
    replace(private, |node| match node {
        LogicalPlan::Join(join) if join.join_type == JoinType::LeftSemi => {
            let (name, _) = join.right.schema().qualified_field(0);
            let columns = [met, "item.line", "item.item_id", "item.price", "item.week"].into_iter().enumerate();
            let columns: Vec<_> = columns.map(|(i, column)| col(column).alias(format!("__c{i}"))).collect();
            let right = LogicalPlanBuilder::from(items.clone()).project(columns).unwrap();
            let right = Arc::new(right.alias(name.unwrap().clone()).unwrap().build().unwrap());
            Some(LogicalPlan::Join(Join { right, ..join.clone() }))
        }
        _ => None,
    });
}

fn purchases(context: &Context) -> LogicalPlanBuilder {
    scan_as(context, "purchase", "q", SourceKind::Protected("purchase".to_owned()))
}

/// Items joined to orders of their own.
fn items(context: &Context, kind: JoinType, keys: [&str; 2]) -> LogicalPlanBuilder {
    on(protected(context, "item"), purchases(context), kind, keys)
}

pub(super) fn cases() -> Vec<Bad> {
    const UNKNOWN: &str = "a join before the person is known";
    const ORDER: [&str; 2] = ["item.order_id", "q.order_id"];
    vec![
        bad("items that are there for nobody", THERE, UNKNOWN, |context, private| {
            there(private, items(context, JoinType::LeftAnti, ORDER), "item.order_id");
        }),
        bad("items led to a person by another column", THERE, UNKNOWN, |context, private| {
            there(private, items(context, JoinType::LeftSemi, ["item.line", "q.order_id"]), "item.order_id");
        }),
        bad("items led to a person by another key", THERE, UNKNOWN, |context, private| {
            there(private, items(context, JoinType::Inner, ["item.order_id", "q.buyer"]), "item.order_id");
        }),
        bad("items led to another table", THERE, UNKNOWN, |context, private| {
            let keys = ["item.order_id", "person.id"];
            let led = on(protected(context, "item"), protected(context, "person"), JoinType::LeftSemi, keys);
            there(private, led, "item.order_id");
        }),
        bad("items beside every order", THERE, UNKNOWN, |context, private| {
            let all = protected(context, "item").cross_join(purchases(context).build().unwrap()).unwrap();
            there(private, all, "item.order_id");
        }),
        bad("items that are there for another order", THERE, "a join of two persons", |context, private| {
            there(private, items(context, JoinType::LeftSemi, ORDER), "item.line");
        }),
        bad("items without an order of theirs that meet another", THERE, UNKNOWN, |context, private| {
            there(private, protected(context, "item"), "item.line");
        }),
    ]
}

/// What the cases above spoil is right otherwise: put together by hand as well, and proven.
#[test]
fn existence_by_a_link_is_proven() {
    for kind in [JoinType::LeftSemi, JoinType::Inner] {
        let (context, mut private) = super::private(THERE).unwrap();
        there(&mut private, items(&context, kind, ["item.order_id", "q.order_id"]), "item.order_id");
        assert!(super::verify(&context, private).is_ok(), "{kind}: {}", crate::query::verify::REASON.take());
    }
}
