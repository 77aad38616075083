//! Intervals and timeouts as Postgres spells them.
//!
//! In: text such as `30 days`, `1 day 12:00:00`, `500ms`. Out: whole seconds or milliseconds, and the text back. Nothing negative.

const DAY_SECONDS: u64 = 86_400;

/// `30 days`, `12 hours`, `1 day 12:00:00`; a number alone is seconds, a month 30 days and a year 365.25 days, as Postgres
/// counts them in an interval's seconds.
pub fn parse_interval(text: &str) -> Option<u64> {
    let text = spaced(text);
    let mut words = text.split_whitespace().peekable();
    words.peek()?;
    let mut total: u64 = 0;
    while let Some(word) = words.next() {
        let seconds = if word.contains(':') {
            parse_clock(word)?
        } else {
            let count: u64 = word.parse().ok()?;
            let unit = match words.next() {
                Some(unit) => unit_seconds(unit)?,
                None => 1,
            };
            count.checked_mul(unit)?
        };
        total = total.checked_add(seconds)?;
    }
    Some(total)
}

/// As Postgres prints an interval: days, then a clock.
pub(super) fn show_interval(seconds: u64) -> String {
    let (days, rest) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    match (days, rest) {
        (0, _) => clock,
        (1, 0) => "1 day".to_owned(),
        (_, 0) => format!("{days} days"),
        (1, _) => format!("1 day {clock}"),
        (_, _) => format!("{days} days {clock}"),
    }
}

/// Milliseconds, or a number with `us`, `ms`, `s`, `min`, `h` or `d`; rounded to milliseconds, but never from something to none.
pub(super) fn parse_timeout(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let milliseconds = match unit.trim() {
        "us" => number / 1_000.0,
        "" | "ms" => number,
        "s" => number * 1_000.0,
        "min" => number * 60_000.0,
        "h" => number * 3_600_000.0,
        "d" => number * 86_400_000.0,
        _ => return None,
    };
    let fits = milliseconds.is_finite() && milliseconds <= f64::from(i32::MAX);
    let rounded = if milliseconds > 0.0 { milliseconds.round().max(1.0) } else { 0.0 };
    fits.then_some(rounded as u64)
}

/// In the largest unit that leaves a whole number, as Postgres shows it.
pub(super) fn show_timeout(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "0".to_owned();
    }
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    units
        .into_iter()
        .find(|(size, _)| milliseconds.is_multiple_of(*size))
        .map(|(size, unit)| format!("{}{unit}", milliseconds / size))
        .unwrap_or_else(|| format!("{milliseconds}ms"))
}

/// `30days` is `30 days`.
fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    let mut after_digit = false;
    for c in text.trim().to_ascii_lowercase().chars() {
        if after_digit && c.is_ascii_alphabetic() {
            out.push(' ');
        }
        after_digit = c.is_ascii_digit();
        out.push(c);
    }
    out
}

fn parse_clock(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = match parts.next() {
        Some(seconds) => seconds?,
        None => 0,
    };
    let fits = minutes < 60 && seconds < 60 && parts.next().is_none();
    fits.then_some(())?;
    hours.checked_mul(3_600)?.checked_add(minutes * 60 + seconds)
}

fn unit_seconds(unit: &str) -> Option<u64> {
    match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600),
        "d" | "day" | "days" => Some(DAY_SECONDS),
        "w" | "week" | "weeks" => Some(7 * DAY_SECONDS),
        "mon" | "mons" | "month" | "months" => Some(30 * DAY_SECONDS),
        "y" | "yr" | "yrs" | "year" | "years" => Some(31_557_600),
        _ => None,
    }
}
