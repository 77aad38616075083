//! Finding the rows that a computation fails on.
//!
//! In: a computation over a range of rows. Out: its results, NULL for the rows it fails on. A range
//! that does not fail is computed once; one that fails is halved.

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic is a failure like any other: some functions overflow far from today where overflow is checked.
pub(super) fn caught<T>(compute: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(compute)).unwrap_or_else(|_| exec_err!("a function panicked"))
}

/// Runs `compute(offset, length)` over all rows. A result of the wrong type or length is a failure.
pub(super) fn rows_that_work(
    length: usize,
    data_type: &DataType,
    compute: &dyn Fn(usize, usize) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let mut parts = Vec::new();
    collect(0, length, data_type, compute, &mut parts);
    if parts.len() == 1 {
        return Ok(parts.swap_remove(0));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parts)?)
}

fn collect(
    offset: usize,
    length: usize,
    data_type: &DataType,
    compute: &dyn Fn(usize, usize) -> Result<ArrayRef>,
    parts: &mut Vec<ArrayRef>,
) {
    match caught(|| compute(offset, length)) {
        Ok(part) if part.len() == length && part.data_type() == data_type => parts.push(part),
        Ok(_) | Err(_) if length <= 1 => parts.push(new_null_array(data_type, length)),
        Ok(_) | Err(_) => {
            let half = length / 2;
            collect(offset, half, data_type, compute, parts);
            collect(offset + half, length - half, data_type, compute, parts);
        }
    }
}
