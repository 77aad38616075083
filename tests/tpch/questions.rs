//! The 22 questions of TPC-H and what becomes of each.
//!
//! A question is the official text with the official parameters (TPC-H 3.0.1, "values for query validation"), unless `changed`
//! says what of it is refused by design and what stands there instead. The reasons are told at length in `README.md`.

#![allow(dead_code)]

use tpchgen::q_and_a::queries;

/// One question.
pub struct Question {
    pub number: usize,
    pub text: &'static str,
    /// What the official text asks that no answer about persons may give.
    pub changed: Option<&'static str>,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// From public tables alone: the exact answer.
    Public,
    /// Released: these columns are noised, the others are groups.
    Released(&'static [&'static str]),
    /// Accepted and paid for, but nothing describes persons enough at the tests' scale.
    Hidden,
    /// SQLSTATE.
    Refused(&'static str),
    /// Refused with this SQLSTATE until its shape is built, and then as the second says.
    Awaited(&'static str, &'static Fate),
}

impl Fate {
    /// The columns of a released answer that are noised.
    pub fn measured(self) -> &'static [&'static str] {
        match self {
            Self::Released(measured) => measured,
            Self::Awaited(_, then) => then.measured(),
            Self::Public | Self::Hidden | Self::Refused(_) => &[],
        }
    }
}

macro_rules! text {
    ($file:literal) => {
        include_str!(concat!("queries/", $file, ".sql"))
    };
}

const fn official(number: usize, text: &'static str, fate: Fate) -> Question {
    Question { number, text, changed: None, fate }
}

const fn changed(number: usize, text: &'static str, changed: &'static str, fate: Fate) -> Question {
    Question { number, text, changed: Some(changed), fate }
}

use Fate::{Awaited, Hidden, Public, Released};

pub const QUESTIONS: [Question; 22] = [
    official(
        1,
        text!("q01"),
        Released(&[
            "sum_qty",
            "sum_base_price",
            "sum_disc_price",
            "sum_charge",
            "avg_qty",
            "avg_price",
            "avg_disc",
            "count_order",
        ]),
    ),
    official(2, text!("q02"), Public),
    changed(
        3,
        text!("q03"),
        "one row an order: the months of the orders instead of the orders",
        Released(&["revenue"]),
    ),
    official(4, text!("q04"), Released(&["order_count"])),
    official(5, text!("q05"), Released(&["revenue"])),
    official(6, text!("q06"), Released(&["revenue"])),
    official(7, text!("q07"), Released(&["revenue"])),
    official(8, text!("q08"), Released(&["mkt_share"])),
    official(9, text!("q09"), Released(&["sum_profit"])),
    changed(
        10,
        text!("q10"),
        "one row a customer: the customers' nations instead of the customers",
        Released(&["revenue"]),
    ),
    official(11, text!("q11"), Public),
    official(12, text!("q12"), Released(&["high_line_count", "low_line_count"])),
    official(13, text!("q13"), Released(&["custdist"])),
    official(14, text!("q14"), Released(&["promo_revenue"])),
    official(15, text!("q15"), Awaited("0A000", &Hidden)),
    official(16, text!("q16"), Public),
    official(17, text!("q17"), Hidden),
    changed(18, text!("q18"), "one row an order: the years of the orders instead of the orders", Hidden),
    official(19, text!("q19"), Hidden),
    official(20, text!("q20"), Hidden),
    official(21, text!("q21"), Hidden),
    changed(
        22,
        text!("q22"),
        "a telephone number is an identifier: the customer's nation instead of the number's country code",
        Released(&["numcust", "totacctbal"]),
    ),
];

const PARAMETERS: [&[&str]; 22] = [
    &["90"],
    &["15", "BRASS", "EUROPE"],
    &["BUILDING", "1995-03-15"],
    &["1993-07-01"],
    &["ASIA", "1994-01-01"],
    &["1994-01-01", "0.06", "24"],
    &["FRANCE", "GERMANY"],
    &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
    &["green"],
    &["1993-10-01"],
    &["GERMANY", "0.0001"],
    &["MAIL", "SHIP", "1994-01-01"],
    &["special", "requests"],
    &["1995-09-01"],
    &["1996-01-01"],
    &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"],
    &["Brand#23", "MED BOX"],
    &["300"],
    &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
    &["forest", "1994-01-01", "CANADA"],
    &["SAUDI ARABIA"],
    &["13", "31", "23", "29", "30", "18", "17"],
];

/// The text that the generator's authors took from the specification, with the parameters in their places.
pub fn official_text(number: usize) -> String {
    let mut text = queries::query(i32::try_from(number).unwrap()).unwrap().replace(":s", "0");
    // From the last, as `:1` begins `:10`.
    for (n, value) in PARAMETERS[number - 1].iter().enumerate().rev() {
        text = text.replace(&format!(":{}", n + 1), value);
    }
    // The leading precision of an interval's days says nothing about its value, and Postgres does not take it either.
    text.replace(" day (3)", " day")
}

/// Words alone: no comments, no line breaks.
pub fn words(sql: &str) -> String {
    let lines = sql.lines().filter(|line| !line.starts_with("--"));
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ").trim_end_matches(';').to_owned()
}
