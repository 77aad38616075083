//! The floors of the house: who may import whom.
//!
//! In: the text of every file under `src/` and `udfs/src/`. It fails on an import from a higher floor or from a neighbour, on
//! a circle, on pgwire outside `wire/`, on a server's name in `udfs/`, and on a file too long to be read as one idea. The
//! tests at the end plant each of these and see it caught.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor, the lowest first (see `src/lib.rs`).
const FLOORS: [&[&str]; 8] = [
    &["error"],
    &["policy", "state", "keys"],
    &["ledger", "catalog"],
    &["query"],
    &["release"],
    &["session"],
    &["wire"],
    &["demo"],
];

const LINES_AT_MOST: usize = 600;

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// One file: the room it belongs to (`None`: the doors, `lib.rs` and `main.rs`) and its text.
struct Source {
    path: String,
    room: Option<String>,
    text: String,
}

fn sources(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(source(root, path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources under {}", root.display());
    found
}

fn source(root: &Path, path: PathBuf) -> Source {
    let inside = path.strip_prefix(root).unwrap();
    let first = inside.components().next().unwrap().as_os_str();
    let first = first.to_str().unwrap().trim_end_matches(".rs");
    Source {
        room: (!["lib", "main"].contains(&first)).then(|| first.to_owned()),
        path: inside.display().to_string(),
        text: fs::read_to_string(&path).unwrap(),
    }
}

/// The text without comments and string literals: prose may name anything.
fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if next == '"' {
            string_end(rest, 1, "\"", true)
        } else if raw_string(rest, &code) {
            let hashes = rest[1..].chars().take_while(|&c| c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            string_end(rest, hashes + 2, &end, false)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

fn raw_string(rest: &str, before: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    rest.starts_with('r')
        && rest[1..].trim_start_matches('#').starts_with('"')
        && !before.ends_with(|c| word(c) && c != 'b')
}

fn string_end(text: &str, from: usize, end: &str, escapes: bool) -> usize {
    let mut at = from;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(end) {
            return at + end.len();
        }
        let width = |rest: &str| rest.chars().next().map_or(1, char::len_utf8);
        at += width(rest);
        if escapes && rest.starts_with('\\') && at < text.len() {
            at += width(&text[at..]);
        }
    }
    text.len()
}

/// The first names after `start` in every path: `crate::a::b` gives `a`, `crate::{a::x, b}` gives both.
fn rooms_named(code: &str, start: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices(start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code[at + start.len()..].trim_start();
        match rest.strip_prefix('{') {
            None => rooms.extend(first_word(rest)),
            Some(list) => rooms.extend(top_of_list(list).into_iter().filter_map(first_word)),
        }
    }
    rooms
}

fn first_word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let word = &text[..end.unwrap_or(text.len())];
    (!word.is_empty()).then(|| word.to_owned())
}

/// `a::{x, y}, b}; …` gives `a::{x, y}` and ` b`.
fn top_of_list(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

/// Tests beside a room: long lists of cases, which need no introduction.
fn is_tests(path: &str) -> bool {
    path.split('/').any(|part| ["tests", "tests.rs", "laws.rs"].contains(&part))
}

/// Everything wrong with the server's sources, a line each.
fn faults(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Source { path, room, text } in sources {
        if !is_tests(path) {
            if text.lines().count() > LINES_AT_MOST {
                faults.push(format!("{path} has more than {LINES_AT_MOST} lines"));
            }
            if !text.starts_with("//!") {
                faults.push(format!("{path} does not open with what it is for"));
            }
        }
        let code = code(text);
        if room.as_deref() != Some("wire") && !rooms_named(&code, "pgwire::").is_empty() {
            faults.push(format!("{path} names pgwire outside wire/"));
        }
        let Some(room) = room else { continue };
        let Some(own) = floor(room) else {
            faults.push(format!("{path} is on no floor"));
            continue;
        };
        let mut named = rooms_named(&code, "crate::");
        named.extend(rooms_named(&code, "paravent::"));
        for other in named.into_iter().filter(|other| other != room) {
            match floor(&other) {
                None => faults.push(format!("{path} imports {other}, which is on no floor")),
                Some(theirs) if theirs > own => {
                    faults.push(format!("{path} imports upwards: {other}"));
                }
                Some(theirs) if theirs == own => {
                    faults.push(format!("{path} imports its neighbour {other}"));
                }
                Some(_) => {}
            }
            imports.entry(room.clone()).or_default().insert(other);
        }
    }
    faults.extend(circle(&imports));
    faults
}

/// Floors forbid circles already; this says so without them.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let mut left = imports.clone();
    loop {
        let end = left.iter().find_map(|(room, named)| {
            let ends = named.iter().all(|other| !left.contains_key(other));
            ends.then(|| room.clone())
        });
        match end {
            Some(room) => left.remove(&room),
            None if left.is_empty() => return None,
            None => {
                let rooms: Vec<&str> = left.keys().map(String::as_str).collect();
                return Some(format!("a circle among {}", rooms.join(", ")));
            }
        };
    }
}

/// `udfs/` is for any DataFusion user: it knows nothing of servers.
fn udf_faults(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for Source { path, text, .. } in sources {
        let code = code(text);
        for forbidden in ["paravent::", "pgwire::", "rusqlite::"] {
            if !rooms_named(&code, forbidden).is_empty() {
                faults.push(format!("udfs/{path} names {forbidden}"));
            }
        }
        if !is_tests(path) && text.lines().count() > LINES_AT_MOST {
            faults.push(format!("udfs/{path} has more than {LINES_AT_MOST} lines"));
        }
    }
    faults
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn rooms_import_from_lower_floors_only() {
    let faults = faults(&sources(&root().join("src")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_functions_know_nothing_of_the_server() {
    let faults = udf_faults(&sources(&root().join("udfs/src")));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_top_level_is_what_it_says() {
    let visible: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target" && name != "paravent-data")
        .collect();
    let known = ["Cargo.lock", "Cargo.toml", "README.md", "benches", "sql", "src", "tests", "udfs"];
    let unknown: Vec<&String> = visible.iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "unexpected at the top level: {unknown:?}");
}

/// What `faults` says of one planted file.
fn planted(path: &str, text: &str) -> Vec<String> {
    let room = path.split('/').next().unwrap().trim_end_matches(".rs");
    faults(&[Source { path: path.to_owned(), room: Some(room.to_owned()), text: format!("//! Planted.\n{text}") }])
}

#[test]
fn planted_violations_are_caught() {
    let caught = |path, text| assert_eq!(planted(path, text).len(), 1, "{path}: {text}");
    caught("query/check.rs", "use crate::session::Server;");
    caught("query/check.rs", "use crate::{\n    error::{Error, Result},\n    release::shape,\n};");
    caught("policy/role.rs", "fn f() -> crate::catalog::Table { todo!() }");
    caught("ledger/mod.rs", "use crate::catalog::Catalog;");
    caught("session/mod.rs", "use pgwire::api::Type;");
    caught("attic/mod.rs", "");
    caught("query/check.rs", "use crate::attic::Box;");
    caught("query/check.rs", &"\n".repeat(LINES_AT_MOST));
    assert_eq!(
        faults(&[Source { path: "wire/mod.rs".into(), room: Some("wire".into()), text: "use std::io;".into() }]).len(),
        1
    );
}

#[test]
fn what_is_allowed_is_not_called_a_fault() {
    let fine = |path, text| assert_eq!(planted(path, text), Vec::<String>::new(), "{path}: {text}");
    fine("wire/mod.rs", "use pgwire::api::Type;\nuse crate::session::Server;");
    fine("query/check.rs", "// crate::session is upstairs\nconst A: &str = \"crate::wire::x\";");
    fine("query/check.rs", "const A: &str = r#\"pgwire::\"x\"#;\nuse crate::query::parse;");
    fine("query/check.rs", "use mycrate::session::Server;\nuse paravent_udfs::Noise;");
}

#[test]
fn a_circle_is_caught_without_the_floors() {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut imports = BTreeMap::from([("a".to_owned(), named(&["b", "c"])), ("b".to_owned(), named(&["c"]))]);
    assert_eq!(circle(&imports), None);
    imports.insert("c".to_owned(), named(&["a"]));
    assert!(circle(&imports).is_some());
}

#[test]
fn a_server_in_the_functions_is_caught() {
    let text = "use paravent::policy::Class;".to_owned();
    let source = Source { path: "lib.rs".into(), room: None, text };
    assert_eq!(udf_faults(&[source]).len(), 1);
}
