//! `audit.query_log` as a table that is read in parts, so that a log of millions of statements is never in memory at once.
//!
//! In: what a query of an auditor asks of it: columns, conditions on id, time and login, a limit. Out: its rows by their id, a page
//! at a time; each page is a read of its own, so that others get their turn between two. Conditions that are not known here are left
//! to the engine, and those that are it checks again.

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use crate::ledger::{Ledger, LogPart, query_log_schema};

/// Ids that one page looks at.
const PAGE: i64 = 4096;

#[derive(Clone)]
pub(super) struct QueryLog {
    ledger: Ledger,
    schema: SchemaRef,
    page: i64,
}

impl QueryLog {
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, schema: query_log_schema(), page: PAGE }
    }
}

impl fmt::Debug for QueryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueryLog")
    }
}

#[async_trait]
impl TableProvider for QueryLog {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let known = |filter: &&Expr| match narrowed(LogPart::default(), filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(known).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = LogPart::default();
        let part = filters.iter().fold(all, |part, filter| narrowed(part.clone(), filter).unwrap_or(part));
        let part = LogPart { columns: projection.cloned(), ..part };
        let shown = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let pages: Arc<dyn PartitionStream> = Arc::new(Pages { log: self.clone(), part, schema: shown.clone() });
        let ascending = SortOptions { descending: false, nulls_first: false };
        let by_id = col("id", &shown).ok().and_then(|id| LexOrdering::new([PhysicalSortExpr::new(id, ascending)]));
        let scan = StreamingTableExec::try_new(shown, vec![pages], None, by_id, false, limit)?;
        Ok(Arc::new(scan))
    }
}

#[derive(Debug)]
struct Pages {
    log: QueryLog,
    part: LogPart,
    /// Of the columns that are wanted.
    schema: SchemaRef,
}

impl PartitionStream for Pages {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        // Two pages at most wait for who reads them.
        let mut pages = RecordBatchReceiverStream::builder(self.schema.clone(), 1);
        let (sender, log, part) = (pages.tx(), self.log.clone(), self.part.clone());
        pages.spawn(async move {
            let failed = |error: crate::error::Error| DataFusionError::External(Box::new(error));
            // Statements that come while the log is read are not waited for.
            let (first, last) = log.ledger.log_ids().await.map_err(failed)?;
            let last = part.last_id.map_or(last, |wanted| wanted.min(last));
            let mut from = part.first_id.map_or(first, |wanted| wanted.max(first));
            while from <= last {
                let until = from.saturating_add(log.page - 1).min(last);
                let page = LogPart { first_id: Some(from), last_id: Some(until), ..part.clone() };
                let rows = log.ledger.query_log(page).await.map_err(failed)?;
                if rows.num_rows() > 0 && sender.send(Ok(rows)).await.is_err() {
                    break;
                }
                from = until.saturating_add(1);
            }
            Ok(())
        });
        pages.build()
    }
}

/// The part of which the condition holds as well, or a little more; `None` where the condition is not known here.
fn narrowed(part: LogPart, condition: &Expr) -> Option<LogPart> {
    let (column, operator, value) = match condition {
        Expr::Between(between) if !between.negated => {
            let over = compared(&between.expr, Operator::GtEq, &between.low)?;
            let under = compared(&between.expr, Operator::LtEq, &between.high)?;
            return within(within(part, over)?, under);
        }
        Expr::BinaryExpr(binary) if binary.op == Operator::And => {
            return narrowed(narrowed(part, &binary.left)?, &binary.right);
        }
        Expr::BinaryExpr(binary) => match compared(&binary.left, binary.op, &binary.right) {
            Some(found) => found,
            None => compared(&binary.right, binary.op.swap()?, &binary.left)?,
        },
        _ => return None,
    };
    within(part, (column, operator, value))
}

type Comparison<'a> = (&'a str, Operator, &'a ScalarValue);

fn compared<'a>(column: &'a Expr, operator: Operator, value: &'a Expr) -> Option<Comparison<'a>> {
    match (column, value) {
        (Expr::Column(column), Expr::Literal(value, _)) => Some((&column.name, operator, value)),
        _ => None,
    }
}

fn within(part: LogPart, (column, operator, value): Comparison<'_>) -> Option<LogPart> {
    let number = match (column, value) {
        ("principal", ScalarValue::Utf8(Some(who)) | ScalarValue::Utf8View(Some(who))) if operator == Operator::Eq => {
            return Some(LogPart { principal: Some(who.clone()), ..part });
        }
        ("id", ScalarValue::Int64(Some(number))) => *number,
        ("at", ScalarValue::TimestampMicrosecond(Some(micros), _)) => *micros,
        _ => return None,
    };
    let tighter = |held: Option<i64>, one: fn(i64, i64) -> i64| Some(held.map_or(number, |held| one(held, number)));
    let (over, under) = match operator {
        Operator::Eq => (true, true),
        Operator::Gt | Operator::GtEq => (true, false),
        Operator::Lt | Operator::LtEq => (false, true),
        _ => return None,
    };
    let mut part = part;
    let (first, last) = match column {
        "id" => (&mut part.first_id, &mut part.last_id),
        _ => (&mut part.since, &mut part.until),
    };
    if over {
        *first = tighter(*first, i64::max);
    }
    if under {
        *last = tighter(*last, i64::min);
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::ledger::Entry;
    use crate::state::State;

    #[tokio::test]
    async fn read_in_pages_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(State::open(folder.path().join("state.db")).unwrap()).await.unwrap();
        for number in 0..10 {
            let who = if number % 3 == 0 { "ana" } else { "bob" };
            let statement = format!("SELECT {number}");
            ledger.record(Entry { who: who.to_owned(), statement, ..Entry::default() }).await.unwrap();
        }
        let context = SessionContext::new();
        context.register_table("log", Arc::new(QueryLog { page: 3, ..QueryLog::new(ledger) })).unwrap();
        for (condition, ids) in [
            ("true", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"),
            ("principal = 'ana'", "[1, 4, 7, 10]"),
            ("principal = 'ana' AND id > 4", "[7, 10]"),
            ("id BETWEEN 3 AND 7 AND 5 >= id", "[3, 4, 5]"),
            ("at >= now() - interval '1 hour' AND id = 2", "[2]"),
            ("at < timestamp '2001-01-01'", "[]"),
            ("principal <> 'ana' AND statement LIKE '%1'", "[2]"),
        ] {
            let sql = format!("SELECT id FROM log WHERE {condition} ORDER BY id");
            let batches = context.sql(&sql).await.unwrap().collect().await.unwrap();
            let found: Vec<i64> = batches
                .iter()
                .flat_map(|batch| {
                    let ids = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(batch.column(0));
                    ids.values().to_vec()
                })
                .collect();
            assert_eq!(format!("{found:?}"), ids, "{condition}");
        }
        let counted = context.sql("SELECT count(*), count(sqlstate), sum(rho) FROM log").await.unwrap();
        let counted = arrow::util::pretty::pretty_format_batches(&counted.collect().await.unwrap()).unwrap();
        assert!(counted.to_string().contains("| 10       | 0                   | 0.0          |"), "{counted}");
        let plan = context.sql("SELECT id FROM log ORDER BY id LIMIT 4").await.unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        assert!(!shown.contains("Sort"), "they come in order: {shown}");
    }

    #[test]
    fn what_narrows_and_what_does_not() {
        let part = |condition: Expr| narrowed(LogPart::default(), &condition);
        let found = part(col("id").gt(lit(4_i64)).and(lit("ana").eq(col("principal")))).unwrap();
        assert_eq!((found.first_id, found.principal.as_deref()), (Some(4), Some("ana")));
        let found = part(lit(9_i64).gt(col("id"))).unwrap();
        assert_eq!((found.first_id, found.last_id), (None, Some(9)));
        assert!(part(col("id").not_eq(lit(4_i64))).is_none());
        assert!(part(col("principal").gt(lit("a"))).is_none());
        assert!(part(col("id").gt(lit(4_i64)).or(col("id").lt(lit(2_i64)))).is_none());
    }
}
