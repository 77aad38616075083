//! Pseudonyms: a keyed name for a value, the same for the same value and key, that leads nowhere
//! without the key.
//!
//! In: a 32-byte key, a family (which kind of thing is named) and a value. Out: 15 letters and
//! digits. Must never: show the key, or give two families the same pseudonym for the same value.
//!
//! **Sensitivity, Noise, Cost** none; a pseudonym is *not* differentially private. **Source**
//! HMAC-SHA-256 (RFC 2104); the 256-bit result modulo 62¹⁵ ≈ 2⁸⁹, whose bias is below 2⁻¹⁶⁶.

use crate::accounting::InvalidParameter;
use arrow::array::{ArrayRef, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 15;

/// The secret of one deployment's pseudonyms.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PseudonymKey([u8; 32]);

impl PseudonymKey {
    pub fn from_slice(bytes: &[u8]) -> Result<Self, InvalidParameter> {
        let bytes = bytes.try_into();
        bytes.map(Self).map_err(|_| InvalidParameter::new("pseudonym key", "32 bytes long"))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey(…)")
    }
}

/// The pseudonym of `value` among its `family`. The family's length goes first, so that no two
/// pairs are hashed alike.
pub fn pseudonym(key: &PseudonymKey, family: &str, value: &str) -> String {
    // RFC 2104 fills a key up to the block with zeros; done here, there is no wrong length to
    // handle.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&key.0);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(&(family.len() as u64).to_be_bytes());
    mac.update(family.as_bytes());
    mac.update(value.as_bytes());
    let mut number: [u8; 32] = mac.finalize().into_bytes().into();
    (0..LENGTH).map(|_| char::from(ALPHABET[divide(&mut number)])).collect()
}

/// Divides a big-endian number by 62 in place and returns the remainder.
fn divide(number: &mut [u8; 32]) -> usize {
    let mut remainder = 0;
    for byte in number {
        let part = remainder << 8 | usize::from(*byte);
        *byte = (part / ALPHABET.len()) as u8;
        remainder = part % ALPHABET.len();
    }
    remainder
}

/// `dp_pseudonym(value)` with its key and family bound. Not registered by default: it needs a key.
pub fn pseudonym_udf(key: PseudonymKey, family: impl Into<String>) -> ScalarUDF {
    let types = vec![DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, DataType::Int64];
    ScalarUDF::new_from_impl(Pseudonym {
        signature: Signature::uniform(1, types, Volatility::Immutable),
        key,
        family: family.into(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pseudonym {
    signature: Signature,
    key: PseudonymKey,
    family: String,
}

impl Pseudonym {
    fn of(&self, values: &ArrayRef) -> Result<StringArray> {
        let values = cast(values, &DataType::Utf8)?;
        let values = as_string_array(&values)?.iter();
        Ok(values.map(|value| value.map(|value| pseudonym(&self.key, &self.family, value))).collect())
    }
}

impl ScalarUDFImpl for Pseudonym {
    fn name(&self) -> &str {
        "dp_pseudonym"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match &args.args[0] {
            ColumnarValue::Array(values) => Ok(ColumnarValue::Array(Arc::new(self.of(values)?))),
            ColumnarValue::Scalar(value) => {
                let named = self.of(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&named, 0)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PseudonymKey {
        PseudonymKey::from_slice(&(0..32).collect::<Vec<u8>>()).unwrap()
    }

    #[test]
    fn the_same_value_has_the_same_name_within_a_family() {
        let name = pseudonym(&key(), "person", "anna");
        assert_eq!(name, pseudonym(&key(), "person", "anna"));
        assert!(name.len() == 15 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(name, pseudonym(&key(), "account", "anna"));
        assert_ne!(pseudonym(&key(), "a", "bc"), pseudonym(&key(), "ab", "c"));
        let other = PseudonymKey::from_slice(&[7; 32]).unwrap();
        assert_ne!(name, pseudonym(&other, "person", "anna"));
        assert!(PseudonymKey::from_slice(&[0; 31]).is_err());
        assert_eq!(format!("{:?}", key()), "PseudonymKey(…)");
    }

    /// Computed once with another implementation (Python's `hmac`), under the key 00 01 … 1f.
    #[test]
    fn fixed_vectors() {
        for (family, value, expected) in [
            ("person", "anna", "rtEGaXmiFzP7fPn"),
            ("person", "", "TXxeZVWPvSZe6zC"),
            ("", "42", "EO64iFNhuEx5CzJ"),
            ("account", "Zoë", "q4hrlhoRSn2VQsu"),
        ] {
            assert_eq!(pseudonym(&key(), family, value), expected);
        }
    }
}
