//! Postgres `numeric` in binary: base-10000 digits, as in `numeric_send` and `numeric_recv`.
//!
//! In and out: decimal text without an exponent.

use bytes::{Buf, BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
/// Decimal digits in one of base 10000.
const DIGITS: usize = 4;

pub(super) fn write(decimal: &str, out: &mut BytesMut) {
    let (sign, magnitude) = match decimal.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (0, decimal),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let whole_groups = whole.len().div_ceil(DIGITS);
    let padded = format!(
        "{}{whole}{fraction}{}",
        "0".repeat(whole_groups * DIGITS - whole.len()),
        "0".repeat(fraction.len().next_multiple_of(DIGITS) - fraction.len()),
    );
    let groups: Vec<u16> = padded.as_bytes().chunks(DIGITS).map(group).collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let trailing = groups[leading..].iter().rev().take_while(|group| **group == 0).count();
    let groups = &groups[leading..];
    let groups = &groups[..groups.len() - trailing];
    // No decimal of Arrow has more than 76 digits, so none of these is cut.
    let weight = if groups.is_empty() { 0 } else { whole_groups as i16 - leading as i16 - 1 };
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_u16(fraction.len() as u16);
    groups.iter().for_each(|group| out.put_u16(*group));
}

fn group(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))
}

/// Refuses what is no finite number, and what has more digits than any decimal here could hold.
pub(super) fn read(mut bytes: &[u8]) -> Option<String> {
    const HEADER_BYTES: usize = 8;
    const MOST_GROUPS: i16 = 64;
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let (count, weight, sign, scale) = (bytes.get_i16(), bytes.get_i16(), bytes.get_u16(), bytes.get_u16());
    let scale = usize::from(scale);
    if !(0..=MOST_GROUPS).contains(&count)
        || bytes.len() != 2 * count as usize
        || weight.abs() > MOST_GROUPS
        || scale > DIGITS * MOST_GROUPS as usize
        || (sign != 0 && sign != NEGATIVE)
    {
        return None;
    }
    let groups: Vec<u16> = bytes.chunks(2).map(|mut pair| pair.get_u16()).collect();
    let at = |position: i16| match usize::try_from(weight - position) {
        Ok(index) => groups.get(index).copied().unwrap_or(0),
        Err(_) => 0,
    };
    let whole: String = (0..=weight.max(0)).rev().map(|position| format!("{:04}", at(position))).collect();
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let below = scale.div_ceil(DIGITS) as i16;
    let mut fraction: String = (1..=below).map(|position| format!("{:04}", at(-position))).collect();
    fraction.truncate(scale);
    let sign = if sign == NEGATIVE { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(decimal: &str) -> (i16, u16, u16, Vec<u16>) {
        let mut out = BytesMut::new();
        write(decimal, &mut out);
        let count = out.get_i16();
        let head = (out.get_i16(), out.get_u16(), out.get_u16());
        let groups = (0..count).map(|_| out.get_u16()).collect();
        (head.0, head.1, head.2, groups)
    }

    /// Expected values: `numeric_send` of PostgreSQL.
    #[test]
    fn digits_as_postgres_sends_them() {
        assert_eq!(digits("0"), (0, 0, 0, vec![]));
        assert_eq!(digits("0.00"), (0, 0, 2, vec![]));
        assert_eq!(digits("-1.5"), (0, NEGATIVE, 1, vec![1, 5000]));
        assert_eq!(digits("12345.678"), (1, 0, 3, vec![1, 2345, 6780]));
        assert_eq!(digits("0.0001"), (-1, 0, 4, vec![1]));
        assert_eq!(digits("100000000"), (2, 0, 0, vec![1]));
    }

    #[test]
    fn reading_undoes_writing() {
        for decimal in ["1", "-1.5", "12345.678", "99999999999999999999", "0.0001"] {
            let mut out = BytesMut::new();
            write(decimal, &mut out);
            assert_eq!(read(&out).unwrap(), decimal);
        }
        const NAN: [u8; 8] = [0, 0, 0, 0, 0xc0, 0, 0, 0];
        assert_eq!(super::read(&NAN), None);
    }
}
