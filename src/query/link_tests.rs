//! Queries over tables that reach their person through other tables.

use super::compile_tests::{compile, private};
use super::plan_lines;
use super::verify::verify;

fn plan(sql: &str) -> String {
    plan_lines(&compile(sql).unwrap_or_else(|error| panic!("{error}: {sql}"))).join("\n")
}

/// How often each table is read.
fn reads(plan: &str, table: &str) -> usize {
    plan.matches(&format!("TableScan: {table} ")).count()
}

#[test]
fn joins_to_the_person_are_added() {
    let one = plan("SELECT week, sum(price) FROM item GROUP BY week");
    assert_eq!((reads(&one, "item"), reads(&one, "purchase")), (1, 1), "{one}");
    assert!(one.contains("BoundGroups: person=__u, max_groups=50"), "{one}");
    let two = plan("SELECT sum(grams) FROM part");
    assert_eq!((reads(&two, "part"), reads(&two, "item"), reads(&two, "purchase")), (1, 1, 1), "{two}");
}

#[test]
fn joins_that_the_query_makes_are_not_added_again() {
    for sql in [
        "SELECT shop, sum(price) FROM item JOIN purchase USING (order_id) GROUP BY shop",
        "SELECT shop, sum(price) FROM purchase p, item i WHERE i.order_id = p.order_id GROUP BY shop",
        "SELECT shop, sum(price) FROM (SELECT * FROM item WHERE week > 3) i JOIN purchase USING (order_id) GROUP BY shop",
        "SELECT country, sum(price) FROM item JOIN purchase USING (order_id) JOIN person ON buyer = id GROUP BY country",
        "SELECT shop, sum(price) FROM item i JOIN calendar USING (week) JOIN purchase USING (order_id) GROUP BY shop",
    ] {
        let plan = plan(sql);
        assert_eq!((reads(&plan, "item"), reads(&plan, "purchase")), (1, 1), "{sql}\n{plan}");
    }
    let three = plan(
        "SELECT shop, sum(grams) FROM part JOIN item ON item = item_id JOIN purchase USING (order_id) GROUP BY shop",
    );
    assert_eq!((reads(&three, "part"), reads(&three, "item"), reads(&three, "purchase")), (1, 1, 1), "{three}");
    let apart = plan("SELECT sum(grams) FROM part JOIN item ON item = item_id");
    assert_eq!((reads(&apart, "part"), reads(&apart, "item"), reads(&apart, "purchase")), (1, 1, 1), "{apart}");
}

#[test]
fn rows_of_one_order_belong_to_one_person() {
    for sql in [
        "SELECT count(*) FROM item a JOIN item b ON a.order_id = b.order_id",
        "SELECT avg(total) FROM (SELECT order_id, clamp(sum(price), 0, 500) AS total FROM item GROUP BY order_id) o",
        "SELECT shop, count(*) FROM purchase LEFT JOIN item USING (order_id) GROUP BY shop",
        "SELECT shop, count(*) FROM item LEFT JOIN purchase USING (order_id) GROUP BY shop",
        "SELECT country, sum(price) FROM person JOIN purchase ON buyer = id JOIN item USING (order_id) GROUP BY country",
        "SELECT country, avg(n) FROM person JOIN (SELECT buyer, count(*) AS n FROM item JOIN purchase USING (order_id) GROUP BY buyer) b ON buyer = id GROUP BY country",
        "SELECT shop, count(*) FROM purchase JOIN (SELECT order_id, sum(price) AS s FROM item GROUP BY order_id) i USING (order_id) GROUP BY shop",
    ] {
        plan(sql);
    }
}

#[test]
fn what_depends_on_the_person_is_found_through_a_link() {
    let by_badge = plan("SELECT week, sum(entries) FROM door GROUP BY week");
    assert!(by_badge.contains("dp_sum(__s0, __c0, Int64(1)"), "one row a person and week\n{by_badge}");
    let level = plan(
        "SELECT country, sum(price) FROM item JOIN purchase USING (order_id) JOIN person ON buyer = id GROUP BY country",
    );
    assert!(!level.contains("BoundGroups"), "a property of the person\n{level}");
}

#[test]
fn a_partner_may_be_missing() {
    // Whether there is a partner depends on the row, not on the person.
    for from in [
        "week w LEFT JOIN person p ON w.id = p.id AND w.week > 3",
        "item LEFT JOIN (SELECT order_id, country FROM purchase JOIN person ON buyer = id WHERE shop = 'a') p USING (order_id)",
    ] {
        let plan = plan(&format!("SELECT country, count(*) FROM {from} GROUP BY 1"));
        assert!(plan.contains("BoundGroups"), "{plan}");
    }
    let badges = "door d LEFT JOIN (SELECT number, country FROM badge JOIN person USING (id)) b ON d.badge = b.number";
    let plan = plan(&format!("SELECT country, count(*) FROM {badges} GROUP BY country"));
    assert!(!plan.contains("BoundGroups"), "one badge a person\n{plan}");
    // What is NULL without a partner is no key to join by.
    for from in [
        "mail m LEFT JOIN person p ON m.id = p.id JOIN week w ON w.id = p.id",
        "item i LEFT JOIN purchase p ON i.order_id = p.order_id JOIN person ON buyer = id",
    ] {
        let refusal = compile(&format!("SELECT country, count(*) FROM {from} GROUP BY country")).unwrap_err();
        assert_eq!(refusal.sqlstate.code(), "0A000", "{from}: {refusal}");
    }
}

#[test]
fn persons_are_counted_through_a_link() {
    for sql in [
        "SELECT count(DISTINCT id) FROM door JOIN badge ON badge = number",
        "SELECT count(DISTINCT buyer) FROM item JOIN purchase USING (order_id)",
        "SELECT count(DISTINCT who) FROM (SELECT id AS who, week FROM door JOIN badge ON badge = number) AS seen",
        "SELECT count(DISTINCT who) BETWEEN 1 AND 2 FROM (SELECT b.id AS who, week FROM door d JOIN badge b ON d.badge = b.number) AS seen",
        "SELECT count(*) FROM (SELECT b.id AS who, week FROM door d JOIN badge b ON d.badge = b.number) AS seen WHERE week = 2",
    ] {
        plan(sql);
    }
}

#[test]
fn a_row_gets_one_person_and_no_other() {
    for (sql, sqlstate) in [
        ("SELECT count(*) FROM item a JOIN item b ON a.line = b.line", "0A000"),
        ("SELECT count(*) FROM item JOIN purchase ON line = purchase.order_id", "0A000"),
        ("SELECT count(*) FROM item, purchase", "0A000"),
        ("SELECT order_id FROM item", "42501"),
        ("SELECT order_id, count(*) FROM item GROUP BY order_id", "42501"),
        ("SELECT count(*) FROM item WHERE order_id = 7", "42501"),
        ("SELECT count(*) FROM item JOIN week ON item.order_id = week.id", "0A000"),
    ] {
        let refusal = compile(sql).expect_err(sql);
        assert_eq!(refusal.sqlstate.code(), sqlstate, "{sql}: {refusal}");
    }
}

#[test]
fn a_key_that_does_not_hold_leads_nowhere() {
    let sql = "SELECT sum(price) FROM item";
    let (mut context, private) = private(sql).unwrap();
    if let Some(known) = context.tables.get_mut("purchase") {
        known.proven_keys.clear();
    }
    assert_eq!(verify(&context, private).unwrap_err().sqlstate.code(), "XX000", "the verifier");
    let refused = super::compile_tests::compile_in(&context, sql).unwrap_err();
    assert_eq!(refused.sqlstate.code(), "55000", "the rewrite");
}

#[test]
fn the_verifier_wants_the_declared_path() {
    use crate::policy::Access;
    let sql = "SELECT sum(price) FROM item";
    // The same plan, where the item's person is said to be found by another column, or by another table.
    for (column, table, key) in [("item_id", "purchase", "order_id"), ("order_id", "badge", "number")] {
        let (mut context, private) = private(sql).unwrap();
        if let Some(known) = context.tables.get_mut("item") {
            let by = crate::policy::ForeignKey { column: column.into(), table: table.into(), key: key.into() };
            known.table.access = Access::Linked { policy: "people".to_owned(), by };
        }
        assert_eq!(verify(&context, private).unwrap_err().sqlstate.code(), "XX000", "{column} → {table}");
    }
    let (context, private) = private(sql).unwrap();
    verify(&context, private).unwrap();
}

/// TPC-H's Q4 and Q21: an order with a line, a line beside another one of its order.
#[test]
fn rows_are_there_or_not_by_a_link() {
    const OTHER: &str = "SELECT * FROM item b WHERE b.order_id = a.order_id AND b.week <> a.week";
    for (sql, items, purchases) in [
        (
            "SELECT shop, count(*) FROM purchase p WHERE EXISTS \
             (SELECT * FROM item i WHERE i.order_id = p.order_id AND week > 3) GROUP BY shop"
                .to_owned(),
            1,
            2,
        ),
        (
            format!(
                "SELECT season, count(*) FROM calendar c, item a, purchase p WHERE c.week = a.week AND p.order_id = a.order_id \
                 AND shop = 'a' AND EXISTS ({OTHER}) AND NOT EXISTS ({OTHER} AND b.week > 3) GROUP BY season"
            ),
            3,
            3,
        ),
        ("SELECT week, count(*) FROM item a WHERE EXISTS (SELECT * FROM part b WHERE b.item = a.item_id) GROUP BY week".to_owned(), 2, 2),
    ] {
        let plan = plan(&sql);
        assert_eq!((reads(&plan, "item"), reads(&plan, "purchase")), (items, purchases), "{sql}\n{plan}");
        assert!(plan.contains("dp_persons(Boolean(true))"), "no profile: {sql}\n{plan}");
    }
    for sql in [
        "SELECT count(*) FROM purchase p WHERE EXISTS (SELECT * FROM item i WHERE i.line = p.order_id)",
        "SELECT count(*) FROM item a WHERE EXISTS (SELECT * FROM item b WHERE b.week = a.week AND b.line <> 3)",
        "SELECT count(*) FROM item a WHERE NOT EXISTS (SELECT * FROM item b WHERE b.week > a.week)",
    ] {
        let refusal = compile(sql).expect_err(sql);
        assert!(matches!(refusal.sqlstate.code(), "0A000" | "42501"), "{sql}: {refusal}");
    }
}

/// TPC-H's Q17, over tables with a column that nobody may read: a subquery does not read what it leaves where it is.
#[test]
fn what_a_subquery_hands_on_is_not_read() {
    let unclassified = |sql: &str| {
        let mut context = super::compile_tests::context(sql);
        for (table, name) in [("item", "line"), ("item", "week"), ("purchase", "shop")] {
            let known = context.tables.get_mut(table).unwrap();
            known.table.columns.iter_mut().filter(|c| c.name == name).for_each(|c| c.class = None);
        }
        super::compile_tests::compile_in(&context, sql)
    };
    const LOW: &str = "price < (SELECT avg(price) FROM item b, calendar WHERE season = 'summer')";
    const SPENT: &str = "(SELECT sum(price) FROM item i WHERE i.order_id = p.order_id)";
    for sql in [
        format!("SELECT sum(price) FROM item WHERE {LOW}"),
        format!("SELECT sum(price) FROM item JOIN purchase USING (order_id) WHERE {LOW}"),
        format!("SELECT count(*) FROM purchase p WHERE clamp({SPENT}, 0, 9) > 5"),
        format!("SELECT avg(clamp({SPENT}, 0, 500)) FROM purchase p"),
        "SELECT count(*) FROM purchase p WHERE EXISTS (SELECT * FROM item i WHERE i.order_id = p.order_id AND price > 3)".to_owned(),
    ] {
        unclassified(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
    for sql in [
        format!("SELECT * FROM item WHERE {LOW}"),
        format!("SELECT line FROM item WHERE {LOW}"),
        format!("SELECT week, sum(price) FROM item WHERE {LOW} GROUP BY week"),
        format!("SELECT sum(price) FROM item WHERE week > 3 AND {LOW}"),
        format!("SELECT sum(price) FROM item WHERE {LOW} AND week IS NULL"),
        format!("SELECT sum(week) FROM item WHERE {LOW}"),
        format!("SELECT count(week) FROM item WHERE {LOW}"),
        format!("SELECT sum(price) FROM (SELECT * FROM item WHERE {LOW}) i GROUP BY week"),
        format!("SELECT count(*) FROM (SELECT DISTINCT week, order_id FROM item WHERE {LOW}) i"),
        format!("SELECT sum(price) FROM item JOIN calendar USING (week) WHERE {LOW}"),
        format!("SELECT avg(clamp({SPENT}, 0, 500)) FROM purchase p GROUP BY shop"),
        format!("SELECT shop, count(*) FROM purchase p WHERE clamp({SPENT}, 0, 9) > 5 GROUP BY 1"),
        "SELECT count(*) FROM purchase p WHERE EXISTS (SELECT * FROM item i WHERE i.order_id = p.order_id AND week > 3)".to_owned(),
    ] {
        let refusal = unclassified(&sql).map(|_| ()).expect_err(&sql);
        assert_eq!(refusal.sqlstate.code(), "42501", "{sql}: {refusal}");
    }
}
