//! Random questions about the tests' company: sources, predicates, keys and aggregates by a small grammar.
//!
//! Out: SQL. Most of it is answered; what is refused is refused before any data is looked at.

use crate::query::verify_tests::dice::Dice;

/// Where rows come from, and which columns of them there are.
struct Rows {
    from: String,
    attributes: Vec<String>,
    measures: Vec<String>,
    person: String,
    conditions: Vec<String>,
}

/// A condition that belongs to the source stands after `WHERE #`.
fn rows(from: &str, attributes: &[&str], measures: &[&str], person: &str) -> Rows {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (from, conditions) = match from.split_once(" WHERE # ") {
        Some((from, condition)) => (from, vec![condition.to_owned()]),
        None => (from, vec![]),
    };
    let (attributes, measures) = (owned(attributes), owned(measures));
    Rows { from: from.to_owned(), attributes, measures, person: person.to_owned(), conditions }
}

fn source(dice: &mut Dice) -> Rows {
    let (country, week, hours, size) = ("p.country", "w.week", "w.hours", "m.size");
    match dice.below(24) {
        0 => rows("person p", &[country], &[], "p.id"),
        1 => rows("week w", &[week], &[hours], "w.id"),
        2 => rows("mail m", &[], &[size], "m.id"),
        3 | 4 => {
            let kind = dice.one_of(&["JOIN", "LEFT JOIN", "RIGHT JOIN"]);
            let person = if kind == "RIGHT JOIN" { "w.id" } else { "p.id" };
            rows(&format!("person p {kind} week w ON p.id = w.id"), &[country, week], &[hours], person)
        }
        5 => rows("person p FULL JOIN mail m ON p.id = m.id", &[country], &[size], "p.id"),
        6 => rows("person p, mail m WHERE # p.id = m.id", &[country], &[size], "p.id"),
        7 => rows("week w JOIN mail m ON w.id = m.id", &[week], &[hours, size], "w.id"),
        8 => rows("week w JOIN calendar c ON w.week = c.week", &["c.season", week], &[hours], "w.id"),
        9 => rows(
            "week w LEFT JOIN calendar c ON w.week = c.week AND c.season = 'winter'",
            &["c.season"],
            &[hours],
            "w.id",
        ),
        10 => rows("week w JOIN week v ON w.id = v.id AND w.week = v.week + 1", &[week], &[hours, "v.hours"], "w.id"),
        11..=13 => metric(dice),
        14 => {
            rows("person p JOIN (SELECT DISTINCT id, week FROM week) w ON p.id = w.id", &[country, week], &[], "p.id")
        }
        15 => {
            let exists = dice.one_of(&["EXISTS", "NOT EXISTS"]);
            let from = format!("person p WHERE # {exists} (SELECT 1 FROM week w WHERE w.id = p.id AND w.week > 3)");
            rows(&from, &[country], &[], "p.id")
        }
        16 => {
            let within = dice.one_of(&["IN", "NOT IN"]);
            rows(&format!("person p WHERE # p.id {within} (SELECT id FROM mail)"), &[country], &[], "p.id")
        }
        17 => rows("item i", &["i.week"], &["i.price"], "i.order_id"),
        18 => rows(
            "(SELECT id, week, clamp(hours - lag(hours) OVER (PARTITION BY id ORDER BY week), -9, 9) AS d FROM week) u",
            &["u.week"],
            &["u.d"],
            "u.id",
        ),
        19 => {
            let numbered = "SELECT id, hours, row_number() OVER (PARTITION BY id ORDER BY week) AS week FROM week";
            rows(&format!("({numbered}) u"), &["u.week"], &["u.hours"], "u.id")
        }
        20 => rows("(SELECT id, size, unnest(ARRAY[1, 2, 3]) AS week FROM mail) u", &["u.week"], &["u.size"], "u.id"),
        21 => {
            let less = dice.one_of(&["EXCEPT", "INTERSECT"]);
            let from = format!("(SELECT id, week FROM week {less} SELECT id, week FROM week WHERE hours > 9) u");
            rows(&from, &["u.week"], &[], "u.id")
        }
        22 => {
            let more = dice.one_of(&["v.hours > w.hours", "v.week > w.week", "v.hours > 30"]);
            let from = format!("week w WHERE # EXISTS (SELECT 1 FROM week v WHERE v.id = w.id AND {more})");
            rows(&from, &["w.week"], &["w.hours"], "w.id")
        }
        _ => {
            let both = "(SELECT id, hours AS x FROM week UNION ALL SELECT id, size FROM mail) u";
            rows(both, &[], &["u.x"], "u.id")
        }
    }
}

/// Per person, and perhaps week, first.
fn metric(dice: &mut Dice) -> Rows {
    let aggregate = |dice: &mut Dice, x: &str| -> String {
        let call =
            ["count(*)", "sum(#)", "avg(#)", "min(#)", "max(#)", "median(#)", "stddev(#)", "share(# > 9)", "count(#)"];
        dice.one_of(&call).replace('#', x)
    };
    let having = if dice.one_in(3) { " HAVING count(*) > 1" } else { "" };
    let filter = dice.one_of(&["", " WHERE week > 4", " WHERE hours > 9"]);
    match dice.below(3) {
        0 => {
            let n = aggregate(dice, "size");
            let from = format!("person p JOIN (SELECT id, {n} AS n FROM mail GROUP BY id{having}) t ON p.id = t.id");
            rows(&from, &["p.country"], &["t.n"], "p.id")
        }
        1 => {
            let n = aggregate(dice, "hours");
            rows(
                &format!("(SELECT id, week, {n} AS n FROM week{filter} GROUP BY id, week) t"),
                &["t.week"],
                &["t.n"],
                "t.id",
            )
        }
        _ => {
            let (n, o) = (aggregate(dice, "hours"), aggregate(dice, "h"));
            let inner = format!("SELECT id, week % 4 AS part, {n} AS h FROM week{filter} GROUP BY id, week % 4");
            rows(&format!("(SELECT id, {o} AS n FROM ({inner}) s GROUP BY id{having}) t"), &[], &["t.n"], "t.id")
        }
    }
}

fn number(dice: &mut Dice, measures: &[String], attributes: &[String]) -> Option<String> {
    let weeks = attributes.iter().filter(|name| name.ends_with("week"));
    let numbers: Vec<&str> = measures.iter().chain(weeks).map(String::as_str).collect();
    let x = if numbers.is_empty() { return None } else { dice.one_of(&numbers) };
    let y = dice.one_of(&numbers);
    let shapes = [
        "#",
        "#",
        "#",
        "# * 2",
        "-#",
        "# - @",
        "# * @",
        "# / @",
        "# % 7",
        "abs(#)",
        "greatest(#, @)",
        "nullif(#, 3)",
        "coalesce(nullif(#, 1), 2)",
        "CASE WHEN @ > 5 THEN # END",
        "clamp(# * @, -50, 100)",
        "clamp(sqrt(#), 0, 9)",
        "clamp(ln(#), -1, 5)",
        "clamp(power(#, @), 0, 1000)",
        "round(#)",
        "CAST(# AS INT)",
        "clamp(exp(#), 0, 100)",
    ];
    let shape = dice.one_of(&shapes);
    let whole = shape.replace('#', x).replace('@', y);
    Some(if dice.one_in(3) { format!("clamp({whole}, -20, 90)") } else { whole })
}

fn predicate(dice: &mut Dice, from: &Rows) -> Option<String> {
    let one = |dice: &mut Dice| -> Option<String> {
        let at = dice.below(from.attributes.len().max(1));
        match (from.attributes.get(at), dice.below(3)) {
            (Some(name), 0 | 1) if name.ends_with("week") => Some(
                dice.one_of(&["# > 7", "# BETWEEN 3 AND 20", "# % 2 = 0", "# IN (1, 2, 3, 30)"]).replace('#', name),
            ),
            (Some(name), 0 | 1) => Some(
                dice.one_of(&["# = 'DE'", "# LIKE '%X'", "# IS NULL", "upper(#) <> 'FR'", "length(#) > 2"])
                    .replace('#', name),
            ),
            _ => {
                let x = number(dice, &from.measures, &[])?;
                Some(format!("{x} {}", dice.one_of(&["> 5", "< 40", "IS NOT NULL", "= 0", "BETWEEN 1 AND 60", "<> 7"])))
            }
        }
    };
    let first = one(dice)?;
    match (dice.below(4), one(dice)) {
        (0, Some(second)) => Some(format!("{first} AND {second}")),
        (1, Some(second)) => Some(format!("({first} OR {second})")),
        (2, _) => Some(format!("NOT ({first})")),
        _ => Some(first),
    }
}

fn key(dice: &mut Dice, from: &Rows) -> Option<String> {
    if from.attributes.is_empty() || dice.one_in(8) {
        let x = number(dice, &from.measures, &[])?;
        return Some(dice.one_of(&["# > 20", "CASE WHEN # < 10 THEN 'few' ELSE 'many' END"]).replace('#', &x));
    }
    let name = &from.attributes[dice.below(from.attributes.len())];
    let shapes: &[&str] = match name.ends_with("week") {
        true => &["#", "#", "# % 3", "# / 4", "# > 10", "CASE WHEN # > 10 THEN 1 ELSE # END"],
        false => &["#", "#", "upper(#)", "length(#)", "# = 'DE'", "coalesce(#, 'none')"],
    };
    Some(dice.one_of(shapes).replace('#', name))
}

fn aggregate(dice: &mut Dice, from: &Rows) -> String {
    let x = number(dice, &from.measures, &from.attributes);
    let filter = match (dice.one_in(4), predicate(dice, from)) {
        (true, Some(predicate)) => format!(" FILTER (WHERE {predicate})"),
        _ => String::new(),
    };
    let call = match (dice.below(12), x) {
        (0 | 1, _) | (_, None) => "count(*)".to_owned(),
        (2, _) => format!("count(DISTINCT {})", from.person),
        (3, Some(x)) => format!("count({x})"),
        (4 | 5, Some(x)) => format!("sum({x})"),
        (6 | 7, Some(x)) => format!("avg({x})"),
        (8, Some(x)) => format!("share({x} > 8)"),
        (9, Some(x)) => {
            let spread = [
                "stddev(#)",
                "var_pop(#)",
                "median(#)",
                "min(#)",
                "max(#)",
                "percentile_cont(0.9) WITHIN GROUP (ORDER BY #)",
                "mode() WITHIN GROUP (ORDER BY # > 8)",
                "corr(#, #)",
            ];
            dice.one_of(&spread).replace('#', &x)
        }
        (10, Some(x)) => format!("count(DISTINCT {x})"),
        (_, Some(x)) => format!("sum(CASE WHEN {x} > 3 THEN 1 ELSE 0 END)"),
    };
    call + &filter
}

/// One question.
pub(crate) fn question(seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let mut from = source(&mut dice);
    if dice.one_in(2) {
        let condition = predicate(&mut dice, &from);
        from.conditions.extend(condition);
    }
    let mut keys: Vec<String> = (0..dice.below(3)).filter_map(|_| key(&mut dice, &from)).collect();
    keys.dedup();
    let aggregates: Vec<String> = (0..1 + dice.below(3)).map(|_| aggregate(&mut dice, &from)).collect();
    let named = keys.iter().chain(&aggregates).enumerate().map(|(i, column)| format!("{column} AS c{i}"));
    let columns = named.collect::<Vec<_>>().join(", ");
    let places = (1..=keys.len()).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let group = match (keys.len(), dice.one_in(5)) {
        (0, _) => String::new(),
        (_, true) => format!(" GROUP BY ROLLUP ({})", keys.join(", ")),
        (_, false) => format!(" GROUP BY {places}"),
    };
    let conditions = from.conditions.iter().map(|condition| format!("({condition})")).collect::<Vec<_>>().join(" AND ");
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {conditions}") };
    format!("SELECT {columns} FROM {}{filter}{group}", from.from)
}
