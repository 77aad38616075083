//! Rows of the server's own views from plain data: one closure a column.
//!
//! In: things. Out: a record batch whose columns are all nullable, so that a view has one schema whatever it holds.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};

use crate::error::{Error, Result};

pub(super) struct Listing<'a, T> {
    things: Vec<&'a T>,
    columns: Vec<(&'static str, ArrayRef)>,
}

impl<'a, T> Listing<'a, T> {
    pub fn of(things: impl IntoIterator<Item = &'a T>) -> Self {
        Self { things: things.into_iter().collect(), columns: vec![] }
    }

    pub fn text(self, name: &'static str, value: impl Fn(&T) -> Option<String>) -> Self {
        let array: StringArray = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array))
    }

    pub fn count(self, name: &'static str, value: impl Fn(&T) -> u64) -> Self {
        let array: Int64Array =
            self.things.iter().map(|thing| Some(i64::try_from(value(thing)).unwrap_or(i64::MAX))).collect();
        self.add(name, Arc::new(array))
    }

    pub fn number(self, name: &'static str, value: impl Fn(&T) -> f64) -> Self {
        let array: Float64Array = self.things.iter().map(|thing| Some(value(thing))).collect();
        self.add(name, Arc::new(array))
    }

    pub fn maybe_number(self, name: &'static str, value: impl Fn(&T) -> Option<f64>) -> Self {
        let array: Float64Array = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array))
    }

    pub fn integer(self, name: &'static str, value: impl Fn(&T) -> Option<i32>) -> Self {
        let array: Int32Array = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array))
    }

    /// Microseconds since 1970.
    pub fn instant(self, name: &'static str, value: impl Fn(&T) -> Option<i64>) -> Self {
        let array: TimestampMicrosecondArray = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array.with_timezone_utc()))
    }

    /// Seconds since 1970.
    pub fn moment(self, name: &'static str, value: impl Fn(&T) -> Option<i64>) -> Self {
        let micros = |seconds: i64| seconds.saturating_mul(1_000_000);
        let array: TimestampMicrosecondArray = self.things.iter().map(|thing| value(thing).map(micros)).collect();
        self.add(name, Arc::new(array.with_timezone_utc()))
    }

    pub fn batch(self) -> Result<RecordBatch> {
        let columns = self.columns.into_iter().map(|(name, array)| (name, array, true));
        RecordBatch::try_from_iter_with_nullable(columns).map_err(|_| Error::internal())
    }

    fn add(mut self, name: &'static str, array: ArrayRef) -> Self {
        self.columns.push((name, array));
        self
    }
}
