//! Names that a reader would take for another.
//!
//! In: a name somebody chose, and one of the server's own. Out: whether a person could mistake one for the other. Not the
//! Unicode consortium's full tables (UTS 39): what is needed is that nothing passes for a few known ASCII names, so every
//! character outside ASCII counts as able to look like any other.

use crate::error::{Error, Result, SqlState};

/// No blanks at either end, nothing that cannot be seen.
pub(super) fn is_plain(name: &str) -> bool {
    name.trim() == name && !name.chars().any(is_unseen)
}

/// Could `name` be read as `own`, a name in ASCII? Case, separators and the usual confusions (`0` and `o`, `rn` and `m`) do not
/// matter.
pub fn looks_like(name: &str, own: &str) -> bool {
    let (name, own) = (skeleton(name), skeleton(own));
    name.len() == own.len() && name.iter().zip(&own).all(|(a, b)| a == b || !a.is_ascii())
}

fn skeleton(name: &str) -> Vec<char> {
    let folded: String = name
        .trim()
        .chars()
        .filter(|c| !is_unseen(*c))
        .flat_map(char::to_lowercase)
        .filter(|c| !is_unseen(*c))
        .map(|c| match c {
            '0' => 'o',
            '1' | 'i' | '|' | '!' => 'l',
            '5' | '$' => 's',
            '@' | '4' => 'a',
            '3' => 'e',
            ' ' | '-' | '.' => '_',
            c if c.is_whitespace() => '_',
            c => c,
        })
        .collect();
    folded.replace("rn", "m").replace("vv", "w").chars().collect()
}

/// Control and format characters, marks that join the letter before, and blanks of no width.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{300}'..='\u{36f}' | '\u{180b}'..='\u{180e}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{fe20}'..='\u{fe2f}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Tables and views of an organisation are not to be mistaken for the server's own.
pub(super) fn refuse_relation_name(name: &str) -> Result<()> {
    let shown: String = name.escape_debug().collect();
    if !is_plain(name) {
        return Err(Error::new(SqlState::InvalidName, format!("relation name \"{shown}\" is not plain"))
            .detail("names have no blanks at either end and no characters that cannot be seen")
            .hint("choose a name of letters and digits"));
    }
    let schema = name.split_once('.').map(|(schema, _)| schema);
    let own = schema.and_then(|schema| OWN_SCHEMAS.into_iter().find(|own| looks_like(schema, own)));
    if own.is_none() && !name.starts_with("pg_") {
        return Ok(());
    }
    Err(Error::new(SqlState::ReservedName, format!("relation name \"{shown}\" is reserved"))
        .detail("it looks like one of the server's own relations")
        .hint("choose a name without a dot that does not begin with pg_"))
}

const OWN_SCHEMAS: [&str; 4] = ["privacy", "audit", "pg_catalog", "information_schema"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_mistaken_is_found_and_other_names_are_free() {
        let alike = [
            "Insights_Admin",
            "insights_admin ",
            "insights-admin",
            "insights admin",
            "lnsights_admin",
            "insights_adm1n",
            "insights_adrnin",
            "insights_аdmin",
            "ｉｎｓｉｇｈｔｓ＿ａｄｍｉｎ",
            "insights\u{200b}_admin",
            "insights_admi\u{301}n",
            "1n5ights_@dmin",
        ];
        for name in alike {
            assert!(looks_like(name, "insights_admin"), "{name}");
        }
        for name in ["insights_admin_2", "insight_admin", "jürgen", "ana", "insights_analyst", "管理者"] {
            assert!(!looks_like(name, "insights_admin"), "{name}");
        }
        for name in [" ana", "ana\t", "a\u{200b}na", "a\0na", "ana\u{202e}"] {
            assert!(!is_plain(name), "{name:?}");
        }
        for name in ["ana", "jürgen", "Ana Li", "分析"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["privacy.budget", "Privacy.budget", "аudit.query_log", "pg_roles", "budget ", "bud\u{200b}get"] {
            assert!(refuse_relation_name(name).is_err(), "{name}");
        }
        for name in ["budget", "person.week", "Größe", "privacy"] {
            assert!(refuse_relation_name(name).is_ok(), "{name}");
        }
    }
}
