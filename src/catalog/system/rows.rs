//! Columns of catalog tables from plain data: one closure a column, or one value for all rows.
//!
//! In: things. Out: a record batch whose columns are all nullable, so that a table has one schema whatever it holds.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int16Builder, Int32Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use datafusion::error::Result;

pub(super) struct Rows<'a, T> {
    things: Vec<&'a T>,
    columns: Vec<(&'static str, ArrayRef)>,
}

impl<'a, T> Rows<'a, T> {
    pub fn of(things: impl IntoIterator<Item = &'a T>) -> Self {
        Self { things: things.into_iter().collect(), columns: vec![] }
    }

    pub fn batch(self) -> Result<RecordBatch> {
        let columns = self.columns.into_iter().map(|(name, array)| (name, array, true));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    }

    fn add(mut self, name: &'static str, array: ArrayRef) -> Self {
        self.columns.push((name, array));
        self
    }

    pub fn text(self, name: &'static str, value: impl Fn(&T) -> String) -> Self {
        self.maybe(name, |thing| Some(value(thing)))
    }

    pub fn maybe(self, name: &'static str, value: impl Fn(&T) -> Option<String>) -> Self {
        let array: StringArray = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array))
    }

    pub fn int(self, name: &'static str, value: impl Fn(&T) -> i32) -> Self {
        let array: Int32Array = self.things.iter().map(|thing| Some(value(thing))).collect();
        self.add(name, Arc::new(array))
    }

    pub fn maybe_int(self, name: &'static str, value: impl Fn(&T) -> Option<i32>) -> Self {
        let array: Int32Array = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array))
    }

    pub fn small(self, name: &'static str, value: impl Fn(&T) -> i16) -> Self {
        let array: Int16Array = self.things.iter().map(|thing| Some(value(thing))).collect();
        self.add(name, Arc::new(array))
    }

    pub fn flag(self, name: &'static str, value: impl Fn(&T) -> bool) -> Self {
        let array: BooleanArray = self.things.iter().map(|thing| Some(value(thing))).collect();
        self.add(name, Arc::new(array))
    }

    pub fn moment(self, name: &'static str, value: impl Fn(&T) -> Option<i64>) -> Self {
        let array: TimestampMicrosecondArray = self.things.iter().map(|thing| value(thing)).collect();
        self.add(name, Arc::new(array.with_timezone_utc()))
    }

    pub fn smalls(self, name: &'static str, value: impl Fn(&T) -> Vec<i16>) -> Self {
        let mut list = ListBuilder::new(Int16Builder::new());
        for thing in &self.things {
            list.values().append_slice(&value(thing));
            list.append(true);
        }
        self.add(name, Arc::new(list.finish()))
    }

    pub fn all_text(self, name: &'static str, value: &str) -> Self {
        self.text(name, |_| value.to_owned())
    }

    pub fn all_int(self, name: &'static str, value: i32) -> Self {
        self.int(name, |_| value)
    }

    pub fn all_small(self, name: &'static str, value: i16) -> Self {
        self.small(name, |_| value)
    }

    pub fn all_flag(self, name: &'static str, value: bool) -> Self {
        self.flag(name, |_| value)
    }

    pub fn some_text(self, name: &'static str, value: impl Fn(&T) -> Option<String>) -> Self {
        self.maybe(name, value)
    }

    pub fn no_text(self, name: &'static str) -> Self {
        self.maybe(name, |_| None)
    }

    /// `reltuples` is the one column of this type: what a planner guesses, here always "unknown".
    pub fn unknown_count(self, name: &'static str) -> Self {
        let array = Float32Array::from(vec![-1.0; self.things.len()]);
        self.add(name, Arc::new(array))
    }

    pub fn texts(self, name: &'static str, value: impl Fn(&T) -> Vec<String>) -> Self {
        let mut list = ListBuilder::new(StringBuilder::new());
        for thing in &self.things {
            value(thing).iter().for_each(|text| list.values().append_value(text));
            list.append(true);
        }
        self.add(name, Arc::new(list.finish()))
    }

    /// A column of text arrays, all null.
    pub fn no_texts(self, name: &'static str) -> Self {
        let mut list = ListBuilder::new(StringBuilder::new());
        for _ in &self.things {
            list.append(false);
        }
        self.add(name, Arc::new(list.finish()))
    }
}
