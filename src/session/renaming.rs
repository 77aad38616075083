//! A view gets another name: what reads it is written anew, so that it reads the same view as before.
//!
//! In: the policies and two names. Out: for each view that reads it, its definition before and after. In a query the old name stays as
//! an alias, so its columns keep theirs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, Ident, ObjectName, TableFactor, VisitMut, VisitorMut};

use super::surroundings::known_view;
use crate::error::{Error, Result, SqlState};
use crate::policy::Policies;

type Readers = BTreeMap<String, (String, String)>;

/// Errors: 0A000 where a name in a reader's query may mean something else than the view.
pub(super) fn readers(policies: &Policies, name: &str, to: &str) -> Result<Readers> {
    let reading = policies.views.values().filter(|view| view.reads.contains(name));
    reading
        .map(|view| {
            let mut query = known_view(view)?.query;
            let mut renaming = Renaming { name, to };
            match VisitMut::visit(&mut query, &mut renaming) {
                ControlFlow::Continue(()) => Ok((view.name.clone(), (view.definition.clone(), query.to_string()))),
                ControlFlow::Break(Shadowed) => Err(Error::new(
                    SqlState::FeatureNotSupported,
                    format!("view \"{}\" has a WITH query named \"{name}\"", view.name),
                )
                .detail("which of the two it reads in a place is not followed when one is renamed")
                .hint(format!("CREATE OR REPLACE VIEW {} with another name for the WITH query", view.name))),
            }
        })
        .collect()
}

struct Renaming<'a> {
    name: &'a str,
    to: &'a str,
}

/// A WITH query has the name.
struct Shadowed;

fn value(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

impl Renaming<'_> {
    /// `name`, `public.name`, `paravent.public.name`.
    fn names(&self, name: &ObjectName) -> bool {
        let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(value)).collect();
        match parts.as_deref() {
            Some([table]) => table == self.name,
            Some([schema, table]) | Some([_, schema, table]) => schema == "public" && table == self.name,
            _ => false,
        }
    }
}

impl VisitorMut for Renaming<'_> {
    type Break = Shadowed;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Shadowed> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        if with.into_iter().any(|table| value(&table.alias.name) == self.name) {
            return ControlFlow::Break(Shadowed);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Shadowed> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && self.names(name)
        {
            let quoted = |name: &str| Ident::with_quote('"', name);
            *name = ObjectName::from(vec![quoted(self.to)]);
            alias.get_or_insert_with(|| ast::TableAlias {
                explicit: true,
                name: quoted(self.name),
                columns: vec![],
                at: None,
            });
        }
        ControlFlow::Continue(())
    }

    /// `public.name.column`: the alias has no schema.
    fn pre_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<Shadowed> {
        if let Expr::CompoundIdentifier(parts) = expression
            && let [.., schema, table, _] = parts.as_slice()
            && value(schema) == "public"
            && value(table) == self.name
        {
            let kept = parts.len() - 2;
            parts.drain(..kept);
        }
        ControlFlow::Continue(())
    }
}
