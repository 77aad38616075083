//! Laws of the key file: the same key for the same name, across restarts and servers; nobody else reads it; what was rotated is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::error::SqlState;

fn family(family: &str, epoch: u64) -> KeyName {
    KeyName::Family { family: family.to_owned(), epoch }
}

#[test]
fn a_key_is_the_same_ever_after_and_for_every_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pseudonym.keys");
    let one = KeyFile::open(&path).unwrap();
    let other = KeyFile::open(&path).unwrap();
    let person = one.key(&family("person", 1)).unwrap();
    assert_eq!(other.key(&family("person", 1)).unwrap(), person);
    let access = other.key(&KeyName::Access(7)).unwrap();
    assert_eq!(one.key(&KeyName::Access(7)).unwrap(), access);
    assert_ne!(one.key(&family("email", 1)).unwrap(), person);
    assert_ne!(one.key(&KeyName::Access(8)).unwrap(), access);
    assert_eq!(KeyFile::open(&path).unwrap().key(&family("person", 1)).unwrap(), person);
    let elsewhere = KeyFile::open(folder.path().join("tenant.keys")).unwrap();
    assert_ne!(elsewhere.key(&family("person", 1)).unwrap(), person, "two tenants have nothing in common");
    assert_eq!(format!("{person:?}"), "Key(…)");
}

#[test]
fn a_key_that_was_rotated_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pseudonym.keys");
    let keys = KeyFile::open(&path).unwrap();
    let first = keys.key(&family("person", 1)).unwrap();
    let late = KeyFile::open(&path).unwrap();
    late.key(&family("person", 1)).unwrap();
    assert_ne!(keys.key(&family("person", 2)).unwrap(), first);
    assert_eq!(keys.key(&family("person", 1)).unwrap_err().sqlstate, SqlState::ObjectNotInPrerequisiteState);
    let kept = fs::read_to_string(&path).unwrap();
    let first =
        String::from_utf8(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, first.bytes()).into())
            .unwrap();
    assert!(!kept.contains(&first), "the old key is still on disk");
    assert_eq!(late.key(&family("person", 2)).unwrap(), keys.key(&family("person", 2)).unwrap());
}

#[test]
fn the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pseudonym.keys");
    let keys = KeyFile::open(&path).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    keys.key(&family("person", 1)).unwrap();
    assert_eq!(mode(&path), 0o600, "also after it was written again");
    for wide in [0o640, 0o604, 0o660, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(wide)).unwrap();
        let refusal = KeyFile::open(&path).unwrap_err();
        assert_eq!(refusal.sqlstate, SqlState::UndefinedFile, "{wide:o}");
        assert!(refusal.hint.is_some());
        // A server that runs does not go on with it either.
        assert!(keys.key(&KeyName::Access(u64::from(wide))).is_err(), "{wide:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "{\"families\": {\"person\": {\"epoch\": 1, \"key\": \"c2hvcnQ=\"}}}").unwrap();
    assert_eq!(KeyFile::open(&path).unwrap_err().sqlstate, SqlState::UndefinedFile, "half a key");
    fs::remove_file(&path).unwrap();
    assert!(keys.key(&KeyName::Access(1)).is_err(), "a file that went away is not made anew under a running server");
}

#[test]
fn the_key_of_a_grant_that_is_over_is_gone_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pseudonym.keys");
    let (one, other) = (KeyFile::open(&path).unwrap(), KeyFile::open(&path).unwrap());
    let (over, live) = (one.key(&KeyName::Access(1)).unwrap(), one.key(&KeyName::Access(2)).unwrap());
    let person = one.key(&family("person", 1)).unwrap();
    other.forget(&[1, 3].into()).unwrap();
    let kept = fs::read_to_string(&path).unwrap();
    let text = |key: &Key| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.bytes());
    assert!(!kept.contains(&text(&over)) && kept.contains(&text(&live)) && kept.contains(&text(&person)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(other.key(&KeyName::Access(2)).unwrap(), live);
    assert_ne!(KeyFile::open(&path).unwrap().key(&KeyName::Access(1)).unwrap(), over, "another one is drawn");
}
