//! A moment as a text.

use super::civil;
use super::template::{Case, Field, Part};
use std::fmt::Write as _;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From Monday.
pub(super) const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
const MICROSECONDS_OF_DAY: i64 = 86_400_000_000;

/// `microseconds` since 1970, in UTC.
pub(super) fn moment(parts: &[Part], microseconds: i64) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Letter(letter) => text.push(*letter),
            Part::Field { field, case, fill, ordinal } => {
                let before = text.len();
                one(&mut text, *field, *case, *fill, microseconds);
                let written: Option<i64> = text.get(before..).and_then(|written| written.trim().parse().ok());
                if let Some(number) = written.filter(|_| *ordinal) {
                    text.push_str(ordinal_of(number));
                }
            }
        }
    }
    text
}

fn one(text: &mut String, field: Field, case: Case, fill: bool, microseconds: i64) {
    let (days, of_day) = (microseconds.div_euclid(MICROSECONDS_OF_DAY), microseconds.rem_euclid(MICROSECONDS_OF_DAY));
    let (year, month, day) = civil::date(days);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    // Year 0 is 1 BC.
    let shown = |year: i64| if year > 0 { year } else { 1 - year };
    let of_year = days - civil::days(year, 1, 1) + 1;
    let (iso_year, iso_week) = civil::iso_week(days);
    let digits = |number: i64, width: usize| if width < 4 { number % 10_i64.pow(width as u32) } else { number };
    let (number, width) = match field {
        Field::Year(width) => (digits(shown(year), width), width),
        Field::YearWithComma => {
            let _ = write!(text, "{},{:03}", shown(year) / 1000, shown(year) % 1000);
            return;
        }
        Field::IsoYear(width) => (digits(shown(iso_year), width), width),
        Field::Century => ((shown(year) - 1) / 100 + 1, 2),
        Field::Quarter => ((month - 1) / 3 + 1, 1),
        Field::Month => (month, 2),
        Field::WeekOfMonth => ((day - 1) / 7 + 1, 1),
        Field::WeekOfYear => ((of_year - 1) / 7 + 1, 2),
        Field::IsoWeek => (iso_week, 2),
        Field::DayOfYear => (of_year, 3),
        Field::DayOfIsoYear => (days - civil::iso_year_start(iso_year) + 1, 3),
        Field::Day => (day, 2),
        Field::Weekday => (civil::iso_weekday(days) % 7 + 1, 1),
        Field::IsoWeekday => (civil::iso_weekday(days), 1),
        Field::JulianDay => (days + 2_440_588, 1),
        Field::Hour24 => (seconds / 3600, 2),
        Field::Hour12 => ((seconds / 3600 + 11) % 12 + 1, 2),
        Field::Minute => (seconds / 60 % 60, 2),
        Field::Second => (seconds % 60, 2),
        Field::SecondOfDay => (seconds, 1),
        Field::Fraction(width) => {
            let _ = write!(text, "{:0width$}", fraction / 10_i64.pow(6 - width.min(6) as u32));
            return;
        }
        Field::MonthName => return name(text, MONTHS[(month - 1) as usize], case, fill),
        Field::MonthAbbreviation => return name(text, &MONTHS[(month - 1) as usize][..3], case, false),
        Field::DayName => return name(text, WEEKDAYS[(civil::iso_weekday(days) - 1) as usize], case, fill),
        Field::DayAbbreviation => {
            return name(text, &WEEKDAYS[(civil::iso_weekday(days) - 1) as usize][..3], case, false);
        }
        Field::RomanMonth => {
            let roman = cased(ROMAN[(month - 1) as usize], case);
            let _ = if fill { write!(text, "{roman:<4}") } else { write!(text, "{roman}") };
            return;
        }
        Field::Meridiem { points } => {
            let half = if seconds < 43_200 { ["AM", "A.M."] } else { ["PM", "P.M."] };
            return text.push_str(&cased(half[usize::from(points)], case));
        }
        Field::Era { points } => {
            let era = if year > 0 { ["AD", "A.D."] } else { ["BC", "B.C."] };
            return text.push_str(&cased(era[usize::from(points)], case));
        }
        Field::Zone => return text.push_str(&cased("UTC", case)),
        Field::ZoneHours => return text.push_str("+00"),
        Field::ZoneMinutes => return text.push_str("00"),
    };
    let _ = if fill { write!(text, "{number:0width$}") } else { write!(text, "{number}") };
}

fn cased(word: &str, case: Case) -> String {
    match case {
        Case::Upper => word.to_ascii_uppercase(),
        Case::Capital => word.to_owned(),
        Case::Lower => word.to_ascii_lowercase(),
    }
}

/// Full names fill the width of the longest, "September" and "Wednesday".
fn name(text: &mut String, word: &str, case: Case, fill: bool) {
    let word = cased(word, case);
    let _ = if fill { write!(text, "{word:<9}") } else { write!(text, "{word}") };
}

fn ordinal_of(number: i64) -> &'static str {
    match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}
