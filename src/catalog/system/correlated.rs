//! Does a subquery refer to the query around it?
//!
//! In: a subquery. Out: yes when a qualified name in it does not begin with one of its own relations.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, TableFactor, Visit, Visitor};

pub(super) fn is_correlated(query: &Query) -> bool {
    let mut own = Own(HashSet::new());
    let _ = query.visit(&mut own);
    query.visit(&mut Foreign(own.0)).is_break()
}

struct Own(HashSet<String>);

impl Visitor for Own {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let (name, alias) = match factor {
            TableFactor::Table { name, alias, .. } => (name.0.last(), alias),
            TableFactor::Derived { alias, .. } | TableFactor::UNNEST { alias, .. } => (None, alias),
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.0.insert(alias.name.value.to_lowercase());
        } else if let Some(ident) = name.and_then(|part| part.as_ident()) {
            self.0.insert(ident.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }
}

struct Foreign(HashSet<String>);

impl Visitor for Foreign {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(first) = parts.first()
            && !self.0.contains(&first.value.to_lowercase())
        {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}
