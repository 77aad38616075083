//! The one person whose rows a `direct` grant of access shows, as one function at the scan.
//!
//! In: a digest, which the grant holds, and what makes digests. Out: `of_subject(person key)`, true for that person's rows and false for
//! everything else. It stands directly above every scan of a table with a person key, in the place of the scope: what takes persons out
//! of answers (an objection, a missing consent, a licence that is gone) takes nothing of their right to their own data.
//! Must never: hold the person's key, or say whose digest it is.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::BooleanArray;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::scope::for_each_person;
use crate::policy::{ByPerson, DigestOf, Digester};

#[derive(Debug, Clone)]
pub struct Subject(Arc<ScalarUDF>);

impl Subject {
    /// `digest`: of the person, for [`DigestOf::Subject`].
    pub fn new(digest: String, digester: Digester) -> Self {
        let function = OfSubject {
            signature: Signature::any(1, Volatility::Immutable),
            digest,
            digester,
            known: Mutex::default(),
        };
        Self(Arc::new(ScalarUDF::new_from_impl(function)))
    }

    /// Is the row with this person key theirs?
    pub(super) fn of(&self, key: Expr) -> Expr {
        self.0.call(vec![key])
    }
}

/// Is `function` the one that knows this person?
pub(super) fn is_subject(function: &ScalarUDF, digest: &str) -> bool {
    function.inner().downcast_ref::<OfSubject>().is_some_and(|found| found.digest == digest)
}

struct OfSubject {
    signature: Signature,
    digest: String,
    digester: Digester,
    /// A digest takes a microsecond, and a person may have many rows.
    known: Mutex<ByPerson<bool>>,
}

impl PartialEq for OfSubject {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.signature == other.signature
    }
}

impl Eq for OfSubject {}

impl Hash for OfSubject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Debug for OfSubject {
    /// Without who it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfSubject").finish_non_exhaustive()
    }
}

impl ScalarUDFImpl for OfSubject {
    fn name(&self) -> &str {
        "of_subject"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion::common::Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let mut theirs = Vec::new();
        if let Some(keys) = columns.first() {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for_each_person(keys, |person| {
                theirs.push(person.is_some_and(|person| {
                    known.get(person).unwrap_or_else(|| {
                        let is = self.digester.digest(DigestOf::Subject, person) == self.digest;
                        known.insert(person, is);
                        is
                    })
                }));
            })?;
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(theirs))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::Field;
    use datafusion::common::config::ConfigOptions;

    use crate::policy::Person;

    fn theirs(subject: &Subject, keys: ArrayRef) -> Vec<Option<bool>> {
        let rows = keys.len();
        let arguments = ScalarFunctionArgs {
            arg_fields: vec![Arc::new(Field::new("key", keys.data_type().clone(), true))],
            args: vec![ColumnarValue::Array(keys)],
            number_rows: rows,
            return_field: Arc::new(Field::new("is", DataType::Boolean, false)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let answer = subject.0.invoke_with_args(arguments).unwrap().into_array(rows).unwrap();
        answer.as_any().downcast_ref::<BooleanArray>().unwrap().iter().collect()
    }

    #[test]
    fn it_knows_one_person_in_any_type_and_does_not_say_who() {
        let digester = Digester::new([7; 32]).unwrap();
        let digest = |key: &str| digester.digest(DigestOf::Subject, Person::of_text(key));
        let subject = Subject::new(digest("4711"), digester.clone());
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(4711), None, Some(471), Some(4711)]));
        assert_eq!(theirs(&subject, numbers), [true, false, false, true].map(Some));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("4711"), Some("04711"), Some("4711 "), None]));
        assert_eq!(theirs(&subject, texts), [true, false, false, false].map(Some));
        let said = format!("{subject:?} {}", subject.of(datafusion::logical_expr::col("id")));
        assert!(!said.contains("4711") && !said.contains(&digest("4711")), "{said}");
        assert!(is_subject(&subject.0, &digest("4711")) && !is_subject(&subject.0, &digest("4712")));
        // Another use of digests is of no use here.
        assert_ne!(digest("4711"), digester.digest(DigestOf::Excluded, Person::Number(4711)));
    }
}
