//! A number as a text: `FM999,990.00`.

use datafusion::common::{Result, exec_err};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// `9`, `0`: a digit.
    Nine,
    Zero,
    Comma,
    Point,
    Letter(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Before the number: a minus or a blank.
    Plain,
    /// `S` in front: + or - before the number.
    Leading,
    /// `S` behind.
    Trailing,
    /// `MI` in front or behind: a minus or a blank in that place.
    MinusFirst,
    MinusLast,
    /// `PR`: negative numbers in angle brackets.
    Brackets,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberTemplate {
    marks: Vec<Mark>,
    sign: Sign,
    fill: bool,
}

/// More digits than a number can have here.
const MOST_DIGITS: usize = 60;

pub(super) fn template(text: &str) -> Result<NumberTemplate> {
    let (mut marks, mut sign, mut fill) = (Vec::new(), Sign::Plain, true);
    let upper = text.to_ascii_uppercase();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let (rest, first) = (&upper[at..], !marks.iter().any(|mark| matches!(mark, Mark::Nine | Mark::Zero)));
        let mut take = letter.len_utf8();
        if rest.starts_with("FM") {
            (fill, take) = (false, 2);
        } else if rest.starts_with("MI") {
            (sign, take) = (if first { Sign::MinusFirst } else { Sign::MinusLast }, 2);
        } else if rest.starts_with("PR") {
            (sign, take) = (Sign::Brackets, 2);
        } else if letter == '"' {
            let quoted = text[at + 1..].split('"').next().unwrap_or_default();
            marks.extend(quoted.chars().map(Mark::Letter));
            take = (quoted.len() + 2).min(text.len() - at);
        } else {
            match letter.to_ascii_uppercase() {
                '9' => marks.push(Mark::Nine),
                '0' => marks.push(Mark::Zero),
                ',' | 'G' => marks.push(Mark::Comma),
                '.' | 'D' if marks.contains(&Mark::Point) => return exec_err!("multiple decimal points"),
                '.' | 'D' => marks.push(Mark::Point),
                'S' => sign = if first { Sign::Leading } else { Sign::Trailing },
                '$' => marks.push(Mark::Letter('$')),
                'L' => marks.push(Mark::Letter(' ')),
                'E' | 'V' | 'R' | 'T' | 'P' | 'M' | 'B' | 'C' => {
                    return exec_err!("this pattern for numbers is not supported");
                }
                _ => marks.push(Mark::Letter(letter)),
            }
        }
        at += take;
    }
    if marks.iter().filter(|mark| matches!(mark, Mark::Nine | Mark::Zero)).count() > MOST_DIGITS {
        return exec_err!("a template has more than {MOST_DIGITS} digits");
    }
    Ok(NumberTemplate { marks, sign, fill })
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Whole(i64),
    Float(f64),
}

pub(super) fn number(template: &NumberTemplate, number: Number) -> String {
    let marks = &template.marks;
    let point = marks.iter().position(|mark| *mark == Mark::Point).unwrap_or(marks.len());
    let is_digit = |mark: &&Mark| matches!(mark, Mark::Nine | Mark::Zero);
    let places = marks[point..].iter().filter(is_digit).count();
    let (negative, digits, fraction) = match number {
        Number::Whole(value) => (value < 0, value.unsigned_abs().to_string(), "0".repeat(places)),
        Number::Float(value) if value.is_finite() => {
            let text = format!("{:.places$}", value.abs());
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            // What rounds to 0 has no sign.
            let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
            (value < 0.0 && !zero, whole.to_owned(), fraction.to_owned())
        }
        Number::Float(_) => (false, String::new(), String::new()),
    };
    let room = marks[..point].iter().filter(is_digit).count();
    let digits = if digits == "0" && places > 0 { String::new() } else { digits };
    let known = !matches!(number, Number::Float(value) if !value.is_finite());
    let overflows = !known || digits.len() > room;
    let body = if overflows { marks.iter().map(hashed).collect() } else { body(template, point, &digits, &fraction) };
    let body = signed(template, negative, body);
    if template.fill { body } else { body.replace('\u{0}', "").trim_start().to_owned() }.replace('\u{0}', " ")
}

fn hashed(mark: &Mark) -> char {
    match mark {
        Mark::Nine | Mark::Zero => '#',
        Mark::Comma => ',',
        Mark::Point => '.',
        Mark::Letter(letter) => *letter,
    }
}

/// Places without a digit are written as NUL: blanks, or nothing after `FM`.
fn body(template: &NumberTemplate, point: usize, digits: &str, fraction: &str) -> String {
    let (marks, mut text) = (&template.marks, String::new());
    let room = marks[..point].iter().filter(|mark| matches!(mark, Mark::Nine | Mark::Zero)).count();
    let (mut place, mut begun) = (0, false);
    let mut whole = digits.bytes();
    for mark in &marks[..point] {
        match mark {
            Mark::Nine | Mark::Zero => {
                let has = room - place <= digits.len();
                begun |= has || *mark == Mark::Zero;
                text.push(match begun {
                    true if has => char::from(whole.next().unwrap_or(b'0')),
                    true => '0',
                    false => '\u{0}',
                });
                place += 1;
            }
            Mark::Comma => text.push(if begun { ',' } else { '\u{0}' }),
            Mark::Point => {}
            Mark::Letter(letter) => text.push(*letter),
        }
    }
    // After `FM`, zeros at the end that only a 9 asks for are left out.
    let forced = marks[point..].iter().filter(|mark| matches!(mark, Mark::Nine | Mark::Zero));
    let forced = forced.enumerate().filter(|(_, mark)| **mark == Mark::Zero).map(|(at, _)| at + 1).last().unwrap_or(0);
    let kept = if template.fill { fraction.len() } else { fraction.trim_end_matches('0').len().max(forced) };
    let mut decimals = fraction[..kept].chars();
    for mark in &marks[point..] {
        match mark {
            Mark::Nine | Mark::Zero => text.extend(decimals.next()),
            Mark::Point => text.push('.'),
            Mark::Comma => text.push(','),
            Mark::Letter(letter) => text.push(*letter),
        }
    }
    text
}

fn signed(template: &NumberTemplate, negative: bool, body: String) -> String {
    // Letters in front stay in front.
    let letters =
        template.marks.iter().map_while(|mark| if let Mark::Letter(letter) = mark { Some(letter) } else { None });
    let letters: usize = letters.map(|letter| letter.len_utf8()).sum();
    let at = body[letters..].find(|letter| letter != '\u{0}').map_or(body.len(), |at| at + letters);
    let before = |sign: char| format!("{}{sign}{}", &body[..at], &body[at..]);
    match template.sign {
        Sign::Plain => before(if negative { '-' } else { '\u{0}' }),
        Sign::Leading => before(if negative { '-' } else { '+' }),
        Sign::Trailing => format!("{body}{}", if negative { '-' } else { '+' }),
        Sign::MinusFirst => format!("{}{body}", if negative { '-' } else { '\u{0}' }),
        Sign::MinusLast => format!("{body}{}", if negative { '-' } else { '\u{0}' }),
        Sign::Brackets if negative => format!("{}>", before('<')),
        Sign::Brackets => format!("\u{0}{body}\u{0}"),
    }
}
