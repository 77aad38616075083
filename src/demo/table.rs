//! An answer as an aligned table, the way psql shows one.

use tokio_postgres::SimpleQueryMessage;

/// Numbers to the right and with three decimals at most, everything else to the left.
pub fn aligned(answer: &[SimpleQueryMessage]) -> String {
    let mut heads: Vec<String> = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for message in answer {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                heads = columns.iter().map(|c| c.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|n| cell(row.get(n))).collect());
            }
            _ => {}
        }
    }
    layout(&heads, &rows)
}

fn layout(heads: &[String], rows: &[Vec<String>]) -> String {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.get(n));
        cells.chain([&heads[n]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[String]| -> String {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, &width)| pad(cell, width)).collect();
        format!(" {}\n", cells.join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let mut table = line(heads);
    table.push_str(&rule.join("+"));
    table.push('\n');
    for row in rows {
        table.push_str(&line(row));
    }
    table
}

fn pad(cell: &str, width: usize) -> String {
    let space = " ".repeat(width.saturating_sub(cell.chars().count()));
    if cell.parse::<f64>().is_ok() { format!("{space}{cell}") } else { format!("{cell}{space}") }
}

fn cell(value: Option<&str>) -> String {
    match value {
        None => String::new(),
        Some(text) => match text.parse::<f64>() {
            Ok(number) if text.contains(['.', 'e']) => format!("{number:.3}"),
            Ok(_) | Err(_) => text.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let heads = ["function", "± x"].map(str::to_owned);
        let rows =
            [("Sales", "1.5"), ("Engineering", "12")].map(|(name, value)| vec![name.to_owned(), cell(Some(value))]);
        let expected = " function    | ± x  \n-------------+-------\n Sales       | 1.500\n Engineering |    12\n";
        assert_eq!(layout(&heads, &rows), expected);
    }
}
