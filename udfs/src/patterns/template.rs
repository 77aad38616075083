//! A template, cut into parts: which letters are patterns, and which stand for themselves.

use datafusion::common::{Result, exec_err};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `YYYY`, `YYY`, `YY`, `Y`: so many digits, from the right.
    Year(usize),
    /// `Y,YYY`
    YearWithComma,
    IsoYear(usize),
    Century,
    Quarter,
    Month,
    MonthName,
    MonthAbbreviation,
    RomanMonth,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    DayOfYear,
    DayOfIsoYear,
    Day,
    /// Sunday is 1.
    Weekday,
    /// Monday is 1.
    IsoWeekday,
    DayName,
    DayAbbreviation,
    JulianDay,
    Hour24,
    Hour12,
    Minute,
    Second,
    SecondOfDay,
    /// Digits of a fraction of a second: 1 to 6. `MS` is 3, `US` is 6.
    Fraction(usize),
    /// `AM`, `PM`; with points?
    Meridiem {
        points: bool,
    },
    /// `BC`, `AD`; with points?
    Era {
        points: bool,
    },
    /// `TZ`: always UTC.
    Zone,
    /// `OF`, `TZH`: hours from UTC.
    ZoneHours,
    /// `TZM`
    ZoneMinutes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Capital,
    Lower,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Field { field: Field, case: Case, fill: bool, ordinal: bool },
    Letter(char),
}

/// Longer ones before those that they begin with.
const PATTERNS: [(&str, Field); 49] = [
    ("Y,YYY", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("IDDD", Field::DayOfIsoYear),
    ("ID", Field::IsoWeekday),
    ("IW", Field::IsoWeek),
    ("I", Field::IsoYear(1)),
    ("CC", Field::Century),
    ("Q", Field::Quarter),
    ("MONTH", Field::MonthName),
    ("MON", Field::MonthAbbreviation),
    ("MM", Field::Month),
    ("MI", Field::Minute),
    ("MS", Field::Fraction(3)),
    ("RM", Field::RomanMonth),
    ("WW", Field::WeekOfYear),
    ("W", Field::WeekOfMonth),
    ("DAY", Field::DayName),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("DY", Field::DayAbbreviation),
    ("D", Field::Weekday),
    ("J", Field::JulianDay),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("US", Field::Fraction(6)),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("A.M.", Field::Meridiem { points: true }),
    ("P.M.", Field::Meridiem { points: true }),
    ("AM", Field::Meridiem { points: false }),
    ("PM", Field::Meridiem { points: false }),
    ("TZH", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("TZ", Field::Zone),
    ("OF", Field::ZoneHours),
];

const ERAS: [(&str, bool); 4] = [("B.C.", true), ("A.D.", true), ("BC", false), ("AD", false)];

/// The longest template that is read, in bytes.
const LONGEST: usize = 1000;

pub(super) fn parts(template: &str) -> Result<Vec<Part>> {
    if template.len() > LONGEST {
        return exec_err!("a template is longer than {LONGEST} bytes");
    }
    let (mut rest, mut parts) = (template, Vec::new());
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (quoted, after) = quoted(&rest[1..]);
            parts.extend(quoted.into_iter().map(Part::Letter));
            rest = after;
            continue;
        }
        if first == '\\' && rest[1..].starts_with('"') {
            parts.push(Part::Letter('"'));
            rest = &rest[2..];
            continue;
        }
        let prefixed = strip(rest, "FM");
        if let Some((field, case, after)) = field(prefixed.unwrap_or(rest)) {
            let suffixed = strip(after, "TH");
            parts.push(Part::Field { field, case, fill: prefixed.is_none(), ordinal: suffixed.is_some() });
            rest = suffixed.unwrap_or(after);
            continue;
        }
        if let Some(after) = prefixed.or_else(|| strip(rest, "FX")) {
            rest = after;
            continue;
        }
        parts.push(Part::Letter(first));
        rest = &rest[first.len_utf8()..];
    }
    Ok(parts)
}

fn quoted(text: &str) -> (Vec<char>, &str) {
    let (mut letters, mut escaped) = (Vec::new(), false);
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if !escaped => return (letters, &text[at + 1..]),
            '\\' if !escaped => escaped = true,
            _ => {
                letters.push(letter);
                escaped = false;
            }
        }
    }
    (letters, "")
}

fn strip<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    (head == prefix || head == prefix.to_ascii_lowercase()).then(|| &text[prefix.len()..])
}

/// Patterns may be written in lower case; of names the case tells how they are written.
fn field(text: &str) -> Option<(Field, Case, &str)> {
    let eras = ERAS.iter().map(|(pattern, points)| (*pattern, Field::Era { points: *points }));
    let (pattern, field) = PATTERNS.iter().copied().chain(eras).find(|(pattern, _)| {
        text.get(..pattern.len()).is_some_and(|head| {
            let capital = pattern[..1].to_owned() + &pattern[1..].to_ascii_lowercase();
            head == *pattern || head == pattern.to_ascii_lowercase() || (is_name(pattern) && head == capital)
        })
    })?;
    let head: Vec<char> = text.chars().take(2).collect();
    let case = match head.as_slice() {
        [first, _] if first.is_lowercase() => Case::Lower,
        [_, second] if second.is_lowercase() => Case::Capital,
        _ => Case::Upper,
    };
    Some((field, case, &text[pattern.len()..]))
}

fn is_name(pattern: &str) -> bool {
    matches!(pattern, "MONTH" | "MON" | "DAY" | "DY")
}
