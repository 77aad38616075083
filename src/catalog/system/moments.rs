//! What time it is: of the transaction, of the statement, of the clock. As Postgres has them, in microseconds.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::Utc;
use datafusion::logical_expr::ScalarUDF;

use super::Moments;
use super::functions::{function, volatile};

pub(super) fn all(moments: Moments) -> Vec<ScalarUDF> {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let fixed = |name, moment: i64| {
        function(name, zoned.clone(), Arc::new(move |_, rows| Ok(instants(vec![moment; rows], true))))
    };
    let Moments { transaction, statement } = moments;
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    let day = i32::try_from(transaction.div_euclid(86_400_000_000)).unwrap_or_default();
    vec![
        fixed("now", transaction),
        fixed("current_timestamp", transaction),
        fixed("transaction_timestamp", transaction),
        fixed("statement_timestamp", statement),
        volatile(
            "clock_timestamp",
            zoned.clone(),
            Arc::new(|_, rows| Ok(instants((0..rows).map(|_| Utc::now().timestamp_micros()).collect(), true))),
        ),
        function("localtimestamp", local, Arc::new(move |_, rows| Ok(instants(vec![transaction; rows], false)))),
        function(
            "current_date",
            DataType::Date32,
            Arc::new(move |_, rows| Ok(Arc::new(Date32Array::from(vec![day; rows])) as ArrayRef)),
        ),
    ]
}

fn instants(moments: Vec<i64>, zoned: bool) -> ArrayRef {
    let array = TimestampMicrosecondArray::from(moments);
    if zoned { Arc::new(array.with_timezone_utc()) } else { Arc::new(array) }
}
