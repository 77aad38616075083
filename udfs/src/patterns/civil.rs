//! Days since 1970-01-01 and the proleptic Gregorian calendar, both ways, for years of up to six digits.
//!
//! Source: Howard Hinnant, "chrono-compatible low-level date algorithms".

/// Of the days that a date can name here: years -4712 to 294276, as in Postgres.
pub(super) const YEARS: std::ops::RangeInclusive<i64> = -4712..=294_276;

pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month, day.
pub(super) fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

pub(super) fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

pub(super) fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Monday is 1.
pub(super) fn iso_weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7) + 1
}

/// The Monday of week 1 of an ISO year: the week that has the 4th of January.
pub(super) fn iso_year_start(year: i64) -> i64 {
    let fourth = days(year, 1, 4);
    fourth - (iso_weekday(fourth) - 1)
}

/// ISO year and week.
pub(super) fn iso_week(days: i64) -> (i64, i64) {
    let (year, ..) = date(days);
    let year = if days >= iso_year_start(year + 1) {
        year + 1
    } else if days < iso_year_start(year) {
        year - 1
    } else {
        year
    };
    (year, (days - iso_year_start(year)) / 7 + 1)
}
