//! A text as a moment.

use super::civil;
use super::template::{Field, Part};
use super::write::{MONTHS, WEEKDAYS};
use datafusion::common::{Result, exec_err};

/// What was read so far; what was not is the first of its kind.
#[derive(Debug, Default)]
struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_weekday: Option<i64>,
    julian: Option<i64>,
    hour: Option<i64>,
    twelve: bool,
    afternoon: Option<bool>,
    before_christ: bool,
    minute: i64,
    second: i64,
    of_day: Option<i64>,
    microseconds: i64,
    /// Seconds east of UTC.
    zone: i64,
}

/// Days since 1970, and microseconds of the day (of UTC; it may reach into a neighbouring day). What follows the template is not read.
pub(super) fn moment(parts: &[Part], text: &str) -> Result<(i64, i64)> {
    let (mut read, mut rest) = (Read::default(), text.trim_start());
    for (at, part) in parts.iter().enumerate() {
        if rest.is_empty() {
            break;
        }
        match part {
            Part::Letter(letter) => rest = skip(*letter, rest),
            Part::Field { field, ordinal, .. } => {
                rest = rest.trim_start_matches([' ', '\t']);
                // Digits that no other number follows at once may be more than the pattern has.
                let next = parts.get(at + 1);
                let more = !matches!(next, Some(Part::Field { .. }));
                rest = read.one(*field, more, rest)?;
                if *ordinal {
                    rest = rest.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
                }
            }
        }
    }
    read.finish()
}

/// Separators stand for any of their kind, or for none; other letters for one letter.
fn skip(letter: char, rest: &str) -> &str {
    if letter.is_alphanumeric() {
        let mut letters = rest.chars();
        letters.next();
        return letters.as_str();
    }
    let Some(first) = rest.chars().next() else {
        return rest;
    };
    // A minus before a zone is its sign.
    if first.is_alphanumeric() || (letter == ' ' && matches!(first, '+' | '-')) {
        rest
    } else {
        &rest[first.len_utf8()..]
    }
}

impl Read {
    fn one<'a>(&mut self, field: Field, more: bool, rest: &'a str) -> Result<&'a str> {
        let number = |width: usize| number(rest, if more { width.max(9) } else { width });
        let exactly = |width: usize| digits(rest, width);
        let (slot, value, rest) = match field {
            Field::Year(4) => {
                let (year, rest) = number(4)?;
                (&mut self.year, year, rest)
            }
            Field::Year(width) => {
                let (year, rest) = exactly(width)?;
                (&mut self.year, nearest_2020(year, width), rest)
            }
            Field::YearWithComma => {
                let (thousands, rest) = exactly(3)?;
                let (year, rest) = digits(rest.trim_start_matches(','), 3)?;
                (&mut self.year, thousands * 1000 + year, rest)
            }
            Field::IsoYear(width) => {
                let (year, rest) = if width == 4 { number(4)? } else { exactly(width)? };
                (&mut self.iso_year, nearest_2020(year, width), rest)
            }
            Field::Month => {
                let (month, rest) = exactly(2)?;
                (&mut self.month, month, rest)
            }
            Field::MonthName | Field::MonthAbbreviation => {
                let (at, rest) = word(rest, &MONTHS, field == Field::MonthName)?;
                (&mut self.month, at + 1, rest)
            }
            Field::DayOfYear => {
                let (day, rest) = exactly(3)?;
                (&mut self.of_year, day, rest)
            }
            Field::Day => {
                let (day, rest) = exactly(2)?;
                (&mut self.day, day, rest)
            }
            Field::IsoWeek => {
                let (week, rest) = exactly(2)?;
                (&mut self.iso_week, week, rest)
            }
            Field::IsoWeekday => {
                let (day, rest) = exactly(1)?;
                (&mut self.iso_weekday, day, rest)
            }
            Field::JulianDay => {
                let (day, rest) = number(9)?;
                (&mut self.julian, day, rest)
            }
            Field::Hour24 | Field::Hour12 => {
                let (hour, rest) = exactly(2)?;
                self.twelve |= field == Field::Hour12;
                (&mut self.hour, hour, rest)
            }
            Field::SecondOfDay => {
                let (second, rest) = number(5)?;
                (&mut self.of_day, second, rest)
            }
            Field::Minute => {
                let (minute, rest) = exactly(2)?;
                self.minute = minute;
                return Ok(rest);
            }
            Field::Second => {
                let (second, rest) = exactly(2)?;
                self.second = second;
                return Ok(rest);
            }
            Field::Fraction(width) => {
                let (value, after) = exactly(width)?;
                let read = rest.len() - after.len();
                self.microseconds = value * 10_i64.pow(6 - read.min(6) as u32);
                return Ok(after);
            }
            Field::Meridiem { .. } => {
                let (at, rest) = mark(rest, ["a.m.", "p.m.", "am", "pm"])?;
                self.afternoon = Some(at % 2 == 1);
                return Ok(rest);
            }
            Field::Era { .. } => {
                let (at, rest) = mark(rest, ["a.d.", "b.c.", "ad", "bc"])?;
                self.before_christ = at % 2 == 1;
                return Ok(rest);
            }
            Field::DayName => return Ok(word(rest, &WEEKDAYS, true)?.1),
            Field::DayAbbreviation => return Ok(word(rest, &WEEKDAYS, false)?.1),
            Field::ZoneHours => {
                let (sign, digits) = match rest.as_bytes().first() {
                    Some(b'-') => (-1, &rest[1..]),
                    Some(b'+') => (1, &rest[1..]),
                    _ => (1, rest),
                };
                let (hours, rest) = self::digits(digits, 2)?;
                self.zone += sign * hours * 3600;
                return Ok(rest);
            }
            Field::ZoneMinutes => {
                let (minutes, rest) = exactly(2)?;
                self.zone += if self.zone < 0 { -minutes * 60 } else { minutes * 60 };
                return Ok(rest);
            }
            Field::Century
            | Field::Quarter
            | Field::RomanMonth
            | Field::WeekOfMonth
            | Field::WeekOfYear
            | Field::DayOfIsoYear
            | Field::Weekday
            | Field::Zone => return exec_err!("this pattern is written only, not read"),
        };
        *slot = Some(value);
        Ok(rest)
    }

    fn finish(self) -> Result<(i64, i64)> {
        let days = self.days()?;
        let mut hour = self.hour.unwrap_or(0);
        if self.twelve && !(1..=12).contains(&hour) {
            return exec_err!("an hour of the 12-hour clock is 1 to 12");
        }
        if let Some(afternoon) = self.afternoon {
            hour = hour % 12 + if afternoon { 12 } else { 0 };
        }
        let (minute, second) = (self.minute, self.second);
        let fits = hour <= 24 && minute < 60 && second < 60 && (hour < 24 || minute + second + self.microseconds == 0);
        if !fits || self.of_day.is_some_and(|second| second >= 86_400) || self.zone.abs() > 16 * 3600 {
            return exec_err!("a time is out of range");
        }
        let seconds = self.of_day.unwrap_or(hour * 3600 + minute * 60 + second) - self.zone;
        Ok((days, seconds * 1_000_000 + self.microseconds))
    }

    fn days(&self) -> Result<i64> {
        if let Some(julian) = self.julian {
            return Ok(julian - 2_440_588);
        }
        if let Some(year) = self.iso_year {
            let (week, day) = (self.iso_week.unwrap_or(1), self.iso_weekday.unwrap_or(1));
            let last = civil::iso_week(civil::days(year, 12, 28)).1;
            if !(1..=last).contains(&week) || !(1..=7).contains(&day) || !civil::YEARS.contains(&year) {
                return exec_err!("a date is out of range");
            }
            return Ok(civil::iso_year_start(year) + (week - 1) * 7 + day - 1);
        }
        // Without a year it is 1 BC, as in Postgres.
        let year = match self.year {
            Some(year) if self.before_christ => 1 - year,
            Some(year) => year,
            None => 0,
        };
        if !civil::YEARS.contains(&year) {
            return exec_err!("a date is out of range");
        }
        if let Some(day) = self.of_year.filter(|_| self.month.is_none() && self.day.is_none()) {
            if !(1..=365 + i64::from(civil::is_leap(year))).contains(&day) {
                return exec_err!("a date is out of range");
            }
            return Ok(civil::days(year, 1, day));
        }
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if !(1..=12).contains(&month) || !(1..=civil::days_of_month(year, month)).contains(&day) {
            return exec_err!("a date is out of range");
        }
        Ok(civil::days(year, month, day))
    }
}

/// Fewer digits than four: the year nearest to 2020.
fn nearest_2020(year: i64, width: usize) -> i64 {
    match width {
        1 => year + 2020,
        2 if year < 70 => year + 2000,
        2 => year + 1900,
        3 if year < 520 => year + 2000,
        3 => year + 1000,
        _ => year,
    }
}

/// At most so many digits, at least one.
fn digits(text: &str, most: usize) -> Result<(i64, &str)> {
    let end = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    match text[..end].parse() {
        Ok(number) => Ok((number, &text[end..])),
        Err(_) => exec_err!("a number is missing"),
    }
}

fn number(text: &str, most: usize) -> Result<(i64, &str)> {
    match text.strip_prefix('-') {
        Some(positive) => digits(positive, most).map(|(number, rest)| (-number, rest)),
        None => digits(text, most),
    }
}

/// One of the names, whole or its first three letters, in any case.
fn word<'a>(text: &'a str, names: &[&str], whole: bool) -> Result<(i64, &'a str)> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    for (at, name) in names.iter().enumerate() {
        let name = if whole { name } else { &name[..3] };
        if begins(name) {
            return Ok((at as i64, &text[name.len()..]));
        }
    }
    exec_err!("a name of a month or day is missing")
}

fn mark<'a>(text: &'a str, marks: [&str; 4]) -> Result<(usize, &'a str)> {
    for (at, mark) in marks.iter().enumerate() {
        if text.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark)) {
            return Ok((at, &text[mark.len()..]));
        }
    }
    exec_err!("a mark such as AM or BC is missing")
}
