//! Random statements over every function and operator that is allowed, typed loosely: what does not type is refused by both servers.

/// SplitMix64 (Steele, Lea, Flood 2014): a statement can be made again from its number.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// `#n` a number, `#t` a text, `#d` a date, `#m` a moment, `#b` a truth value, `#w` a whole number, `#x` anything.
const NUMBERS: &[&str] = &[
    "#n + #n",
    "#n - #n",
    "#n * #n",
    "#n / #n",
    "#n % #n",
    "-#n",
    "abs(#n)",
    "ceil(#n)",
    "floor(#n)",
    "round(#n)",
    "round(#n, #w)",
    "trunc(#n)",
    "trunc(#n, #w)",
    "sign(#n)",
    "signum(#n)",
    "sqrt(#n)",
    "cbrt(#n)",
    "exp(#n)",
    "ln(#n)",
    "log(#n)",
    "log(#n, #n)",
    "log10(#n)",
    "log2(#n)",
    "power(#n, #n)",
    "pow(#n, #n)",
    "pi() * #n",
    "degrees(#n)",
    "radians(#n)",
    "sin(#n)",
    "cos(#n)",
    "tan(#n)",
    "asin(#n)",
    "acos(#n)",
    "atan(#n)",
    "atan2(#n, #n)",
    "coalesce(#n, #n)",
    "nullif(#n, #n)",
    "nvl(#n, #n)",
    "greatest(#n, #n)",
    "least(#n, #n)",
    "clamp(#n, #n, #n)",
    "length(#t)",
    "char_length(#t)",
    "octet_length(#t)",
    "strpos(#t, #t)",
    "position(#t IN #t)",
    "CAST(#x AS BIGINT)",
    "CAST(#x AS INT)",
    "CAST(#x AS SMALLINT)",
    "CAST(#x AS DOUBLE PRECISION)",
    "CAST(#x AS REAL)",
    "CAST(#x AS NUMERIC(10,2))",
    "CAST(#x AS NUMERIC(38,10))",
    "CASE WHEN #b THEN #n ELSE #n END",
    "CASE #n WHEN #n THEN #n END",
    "date_part('year', #m)",
    "date_part('epoch', #m)",
    "extract(week FROM #d)",
    "extract(dow FROM #m)",
    "extract(doy FROM #d)",
    "date_part('millisecond', #m)",
    "#w & #w",
    "#w | #w",
    "#w # #w",
    "#d - #d",
    "width_bucket(#n, 0, 10, 5)",
];
const TEXTS: &[&str] = &[
    "lower(#t)",
    "upper(#t)",
    "initcap(#t)",
    "btrim(#t)",
    "btrim(#t, #t)",
    "trim(#t)",
    "ltrim(#t, #t)",
    "rtrim(#t, #t)",
    "left(#t, #w)",
    "right(#t, #w)",
    "substr(#t, #w)",
    "substr(#t, #w, #w)",
    "substring(#t FROM #w FOR #w)",
    "concat(#t, #x)",
    "concat_ws(#t, #t, #t)",
    "#t || #t",
    "#t || #x",
    "replace(#t, #t, #t)",
    "split_part(#t, #t, #w)",
    "reverse(#t)",
    "to_char(#m, #t)",
    "to_char(#d, '%Y-%m')",
    "to_char(#m, 'YYYY-MM-DD')",
    "CAST(#x AS TEXT)",
    "coalesce(#t, #t)",
    "nullif(#t, #t)",
    "greatest(#t, #t)",
    "CASE WHEN #b THEN #t END",
];
const TRUTHS: &[&str] = &[
    "#n < #n",
    "#n = #n",
    "#n <> #n",
    "#n >= #n",
    "#t = #t",
    "#t < #t",
    "#d > #d",
    "#m <= #m",
    "#t LIKE #t",
    "#t ILIKE #t",
    "#t NOT LIKE #t",
    "#t LIKE #t ESCAPE '!'",
    "#t ~ #t",
    "#t ~* #t",
    "#t !~ #t",
    "#t !~* #t",
    "regexp_like(#t, #t)",
    "regexp_like(#t, #t, #t)",
    "#x IS NULL",
    "#x IS NOT NULL",
    "#b AND #b",
    "#b OR #b",
    "NOT #b",
    "#b IS TRUE",
    "#b IS NOT FALSE",
    "#b IS UNKNOWN",
    "#n BETWEEN #n AND #n",
    "#n IN (#n, #n, 0)",
    "#t IN (#t, '')",
    "starts_with(#t, #t)",
    "ends_with(#t, #t)",
    "contains(#t, #t)",
    "#n IS DISTINCT FROM #n",
    "CAST(#x AS BOOLEAN)",
    "#d = #t",
    "#m > #d",
    "#t SIMILAR TO #t",
];
const DATES: &[&str] = &[
    "to_date(#t)",
    "to_date(#t, #t)",
    "make_date(#w, #w, #w)",
    "CAST(#x AS DATE)",
    "#d + INTERVAL '1 month'",
    "#d - INTERVAL '1 day'",
    "date_trunc('month', #d)",
    "#d + #w",
    "#d - #w",
    "coalesce(#d, current_date)",
    "current_date",
    "greatest(#d, #d)",
];
const MOMENTS: &[&str] = &[
    "to_timestamp(#t)",
    "to_timestamp(#n)",
    "to_timestamp(#t, #t)",
    "CAST(#x AS TIMESTAMP)",
    "CAST(#x AS TIMESTAMPTZ)",
    "date_trunc('year', #m)",
    "date_trunc('week', #m)",
    "date_trunc('quarter', #d)",
    "date_trunc('hour', #m)",
    "date_trunc('nonsense', #m)",
    "date_bin(INTERVAL '15 minutes', #m, TIMESTAMP '2001-01-01')",
    "date_bin(INTERVAL '1 month', #m)",
    "#m + INTERVAL '1 year'",
    "#m - INTERVAL '900000 years'",
    "#m + INTERVAL '1 nanosecond'",
    "#m + (#m - #m)",
    "now()",
    "current_timestamp",
    "coalesce(#m, now())",
];

fn leaf(dice: &mut Dice, kind: char) -> String {
    let of: &[&str] = match kind {
        'n' => &["i", "s", "f", "n", "f", "i", "0", "1.5", "-3", "1e308", "9223372036854775807"],
        'w' => &["i", "s", "i", "0", "-1", "2147483648", "2"],
        't' => &["t", "u", "t", "''", "'a'", "'%'", "'['", "'2026-01-01'"],
        'd' => &["d", "d", "DATE '2026-02-28'", "CAST(ts AS DATE)"],
        'm' => &["ts", "ts", "TIMESTAMP '2026-02-28 12:00:00'", "CAST(d AS TIMESTAMP)"],
        'b' => &["b", "b", "true"],
        _ => &["i", "s", "f", "n", "t", "d", "ts", "b", "NULL"],
    };
    dice.one_of(of).to_owned()
}

pub fn expression(dice: &mut Dice, kind: char, depth: usize) -> String {
    if depth == 0 || dice.below(4) == 0 {
        return leaf(dice, kind);
    }
    let kind = if kind == 'x' { ['n', 't', 'd', 'm', 'b'][dice.below(5)] } else { kind };
    let shape = match kind {
        'n' => dice.one_of(NUMBERS),
        't' => dice.one_of(TEXTS),
        'd' => dice.one_of(DATES),
        'm' => dice.one_of(MOMENTS),
        'b' => dice.one_of(TRUTHS),
        _ => return leaf(dice, kind),
    };
    filled(dice, shape, depth - 1)
}

fn filled(dice: &mut Dice, shape: &str, depth: usize) -> String {
    let mut parts = shape.split('#');
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.chars().next() {
            Some(kind @ ('n' | 't' | 'd' | 'm' | 'b' | 'w' | 'x')) => {
                made += &format!("({})", expression(dice, kind, depth));
                made += &part[1..];
            }
            // Postgres's own `#`: exclusive or.
            _ => made = made + "#" + part,
        }
    }
    made
}

fn about(dice: &mut Dice, kind: char, expression: &str) -> String {
    match (kind, dice.below(6)) {
        ('n', 0) => format!("SELECT avg(clamp({expression}, 0, 9)), count({expression}) FROM odd"),
        ('n', 1) => {
            format!(
                "SELECT avg(clamp(x, 0, 9)) FROM (SELECT person, sum({expression}) AS x FROM odd GROUP BY person) AS each"
            )
        }
        ('b', 0) => format!("SELECT share({expression}) FROM odd"),
        ('b', 1 | 2) => format!("SELECT count(*) FROM odd WHERE {expression}"),
        (_, 0 | 1) => format!("SELECT count(*) FROM odd WHERE ({expression}) IS NULL"),
        (_, 2 | 3) => format!("SELECT {expression} AS k, count(DISTINCT person) FROM odd GROUP BY 1"),
        (_, 4) => format!("SELECT count(*) FILTER (WHERE ({expression}) IS NOT NULL) FROM odd"),
        _ => format!(
            "SELECT count(*) FROM (SELECT person, max({expression}) AS x FROM odd GROUP BY person) AS each WHERE x IS NOT NULL"
        ),
    }
}

/// One random statement.
pub fn statement(dice: &mut Dice) -> String {
    let kind = ['n', 't', 'd', 'm', 'b'][dice.below(5)];
    let expression = expression(dice, kind, 3);
    about(dice, kind, &expression)
}

/// Every shape once, over columns alone.
pub fn sweep() -> Vec<String> {
    let mut dice = Dice::new(0);
    let kinds = [('n', NUMBERS), ('t', TEXTS), ('b', TRUTHS), ('d', DATES), ('m', MOMENTS)];
    let shapes = kinds.into_iter().flat_map(|(kind, shapes)| shapes.iter().map(move |shape| (kind, shape)));
    shapes
        .map(|(kind, shape)| {
            let column = |kind: char| match kind {
                'n' => "(f)",
                'w' => "(i)",
                't' => "(t)",
                'd' => "(d)",
                'm' => "(ts)",
                'b' => "(b)",
                _ => "(u)",
            };
            let mut whole = (*shape).to_owned();
            for kind in ['n', 'w', 't', 'd', 'm', 'b', 'x'] {
                whole = whole.replace(&format!("#{kind}"), column(kind));
            }
            about(&mut dice, kind, &whole)
        })
        .collect()
}
