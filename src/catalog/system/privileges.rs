//! `has_…_privilege` and `pg_has_role`.
//!
//! In: what the session sees, and whose session it is. Out: true for SELECT on relations it may read, for INSERT on tables it may load, for USAGE on its
//! schemas and for CONNECT to its database; false for everything else and for other users.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

use super::functions::{Arguments, privilege};
use super::objects::{Objects, Relation};

pub(super) fn all(user: &str, objects: &Arc<Objects>) -> Vec<ScalarUDF> {
    let tables = ["has_table_privilege", "has_any_column_privilege"].map(|name| {
        let user = user.to_owned();
        privilege(name, objects, move |objects, arguments| {
            let (own, [table, wanted]) = split::<2>(&user, objects, arguments)?;
            let relation = objects.relation(table);
            Some(own && relation.is_some_and(|relation| granted(relation, wanted)))
        })
    });
    let columns = {
        let user = user.to_owned();
        privilege("has_column_privilege", objects, move |objects, arguments| {
            let (own, [table, column, wanted]) = split::<3>(&user, objects, arguments)?;
            let relation = objects.relation(table)?;
            let fields = relation.fields.fields();
            let named = fields.iter().any(|field| field.name() == column);
            let numbered = column.parse::<usize>().is_ok_and(|at| (1..=fields.len()).contains(&at));
            Some(own && granted(relation, wanted) && (named || numbered))
        })
    };
    let others = [
        ("has_schema_privilege", "usage"),
        ("has_database_privilege", "connect"),
        ("has_function_privilege", "execute"),
        ("has_type_privilege", "usage"),
        ("has_language_privilege", "usage"),
        ("has_sequence_privilege", "none"),
        ("has_server_privilege", "none"),
        ("has_tablespace_privilege", "none"),
        ("has_foreign_data_wrapper_privilege", "none"),
    ]
    .map(|(name, granted)| {
        let user = user.to_owned();
        privilege(name, objects, move |objects, arguments| {
            let (own, [_, wanted]) = split::<2>(&user, objects, arguments)?;
            Some(own && names(wanted, granted))
        })
    });
    let user = user.to_owned();
    let has_role = privilege("pg_has_role", objects, move |objects, arguments| {
        let (own, [role, wanted]) = split::<2>(&user, objects, arguments)?;
        let usable = names(wanted, "usage") && acts_as(objects, role);
        Some(own && (usable || names(wanted, "member") && is_member(objects, &user, role)))
    });
    tables.into_iter().chain(others).chain([columns, has_role]).collect()
}

/// The arguments after the user, and whether that user is the session's own; `None` where an argument is null.
fn split<'a, const N: usize>(user: &str, objects: &Objects, arguments: &Arguments<'a>) -> Option<(bool, [&'a str; N])> {
    let given: Option<Vec<&str>> = arguments.iter().copied().collect();
    let given = given?;
    let own = match given.len().checked_sub(N)? {
        0 => true,
        1 => given[0] == user || role_named(objects, given[0]) == Some(user),
        _ => return None,
    };
    let last: [&str; N] = given[given.len() - N..].try_into().ok()?;
    Some((own, last))
}

fn role_named<'a>(objects: &'a Objects, oid: &str) -> Option<&'a str> {
    let mut roles = objects.roles.iter();
    let role = roles.find(|role| role.oid.to_string() == oid)?;
    Some(&role.name)
}

fn granted(relation: &Relation, wanted: &str) -> bool {
    names(wanted, "select") && relation.selectable || names(wanted, "insert") && relation.loadable
}

/// Does a list such as `INSERT, SELECT WITH GRANT OPTION` ask for `privilege`? Postgres: any of them is enough.
fn names(wanted: &str, privilege: &str) -> bool {
    wanted.split(',').any(|one| one.trim().eq_ignore_ascii_case(privilege))
}

fn acts_as(objects: &Objects, role: &str) -> bool {
    objects.acts_as.contains(role_named(objects, role).unwrap_or(role))
}

fn is_member(objects: &Objects, user: &str, role: &str) -> bool {
    let wanted = role_named(objects, role).unwrap_or(role);
    let mut open = vec![user];
    let mut seen: Vec<&str> = vec![];
    while let Some(name) = open.pop() {
        if name == wanted {
            return true;
        }
        if !seen.contains(&name) {
            seen.push(name);
            let found = objects.roles.iter().filter(|row| row.name == name);
            open.extend(found.flat_map(|row| row.member_of.iter().map(String::as_str)));
        }
    }
    false
}
