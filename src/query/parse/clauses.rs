//! Which clauses a query body may have: those of Postgres that the planner obeys.
//!
//! In: a parsed query. Out: nothing, or a refusal with the clause's place. The planner drops several clauses it does not
//! know without a word, so every field of every clause is looked at here: a clause is either obeyed or refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, GroupByExpr, Ident, LimitClause, ObjectName, ObjectNamePart, OrderByExpr, OrderByKind, Query, Select,
    SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, Statement,
    TableFactor, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token};

use super::expressions;
use super::reader::syntax_error;
use super::tokens::{self, Slice, position_in};
use crate::error::{Error, Result, SqlState};

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`; what else `FETCH` can say is refused later.
pub(super) fn fetch_as_limit(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut FetchAsLimit);
}

struct FetchAsLimit;

impl VisitorMut for FetchAsLimit {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(Fetch { with_ties: false, percent: false, quantity }) = &query.fetch else {
            return ControlFlow::Continue(());
        };
        let one = || Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
        let rows = Some(quantity.clone().unwrap_or_else(one));
        match &mut query.limit_clause {
            None => {
                query.limit_clause = Some(LimitClause::LimitOffset { limit: rows, offset: None, limit_by: vec![] });
            }
            Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => *limit = rows,
            Some(LimitClause::LimitOffset { .. } | LimitClause::OffsetCommaLimit { .. }) => {
                return ControlFlow::Continue(());
            }
        }
        query.fetch = None;
        ControlFlow::Continue(())
    }
}

pub(super) fn check(query: &Query, slice: &Slice<'_>) -> Result<()> {
    match query.visit(&mut Walk { slice }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

pub(super) fn check_expression(expression: &Expr, slice: &Slice<'_>) -> Result<()> {
    match expression.visit(&mut Walk { slice }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

pub(super) struct Walk<'a> {
    slice: &'a Slice<'a>,
}

pub(super) type Step = ControlFlow<Box<Error>>;
pub(super) const NEXT: Step = ControlFlow::Continue(());

impl Visitor for Walk<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> Step {
        self.query(query)
    }

    fn pre_visit_select(&mut self, select: &Select) -> Step {
        self.select(select)
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> Step {
        self.table(table)
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Step {
        self.object(name)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Step {
        match expressions::foreign(expr) {
            None => match expr {
                Expr::Identifier(name) => self.name(name),
                _ => NEXT,
            },
            Some(what) => self.foreign(what, expressions::place(expr)),
        }
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Step {
        if expressions::is_postgres_value(&value.value) { NEXT } else { self.syntax(value.span) }
    }

    fn pre_visit_statement(&mut self, _statement: &Statement) -> Step {
        self.refuse_change("a data-modifying statement", &[])
    }
}

impl Walk<'_> {
    fn query(&self, query: &Query) -> Step {
        let Query {
            with: _,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        self.body(body)?;
        if let Some(order_by) = order_by {
            match &order_by.kind {
                OrderByKind::All(_) => self.clause("ORDER BY ALL", &["ORDER", "BY", "ALL"])?,
                OrderByKind::Expressions(keys) => self.keys(keys)?,
            }
            self.unless(order_by.interpolate.is_none(), "INTERPOLATE")?;
        }
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit_by, .. }) => {
                self.unless(limit_by.is_empty(), "LIMIT BY")?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                self.hinted("LIMIT with a comma", &["LIMIT"], "write LIMIT … OFFSET …")?
            }
        }
        if fetch.is_some() {
            self.hinted("FETCH FIRST", &["FETCH"], "write LIMIT")?;
        }
        if !locks.is_empty() {
            return self.refuse_change("FOR UPDATE or FOR SHARE", &["FOR"]);
        }
        self.unless(for_clause.is_none(), "FOR XML")?;
        self.unless(settings.is_none(), "SETTINGS")?;
        self.unless(format_clause.is_none(), "FORMAT")?;
        self.unless(pipe_operators.is_empty(), "a pipe operator")
    }

    fn body(&self, body: &SetExpr) -> Step {
        match body {
            // Their own visits come later.
            SetExpr::Select(_) | SetExpr::Query(_) => NEXT,
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                match op {
                    SetOperator::Union | SetOperator::Except | SetOperator::Intersect => {}
                    SetOperator::Minus => {
                        self.hinted("MINUS", &["MINUS"], "write EXCEPT")?;
                    }
                }
                match set_quantifier {
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => {}
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                        self.clause("BY NAME", &["BY", "NAME"])?
                    }
                }
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Values(values) => {
                self.unless(!values.explicit_row, "VALUES ROW")?;
                self.unless(!values.value_keyword, "VALUE")
            }
            SetExpr::Insert(_) => self.refuse_change("INSERT", &["INSERT"]),
            SetExpr::Update(_) => self.refuse_change("UPDATE", &["UPDATE"]),
            SetExpr::Delete(_) => self.refuse_change("DELETE", &["DELETE"]),
            SetExpr::Merge(_) => self.refuse_change("MERGE", &["MERGE"]),
            SetExpr::Table(_) => self.hinted("TABLE inside a query", &["TABLE"], "write SELECT * FROM the table"),
        }
    }

    fn select(&self, select: &Select) -> Step {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            return self.refuse_change("SELECT INTO", &["INTO"]);
        }
        self.unless(optimizer_hints.is_empty(), "an optimizer hint")?;
        self.unless(select_modifiers.is_none(), "a modifier of SELECT")?;
        self.unless(top.is_none(), "TOP")?;
        self.unless(exclude.is_none(), "EXCLUDE")?;
        self.unless(lateral_views.is_empty(), "LATERAL VIEW")?;
        self.unless(prewhere.is_none(), "PREWHERE")?;
        self.unless(connect_by.is_empty(), "CONNECT BY")?;
        self.unless(cluster_by.is_empty(), "CLUSTER BY")?;
        self.unless(distribute_by.is_empty(), "DISTRIBUTE BY")?;
        self.unless(sort_by.is_empty(), "SORT BY")?;
        self.unless(qualify.is_none(), "QUALIFY")?;
        self.unless(value_table_mode.is_none(), "SELECT AS VALUE")?;
        match flavor {
            SelectFlavor::Standard => {}
            SelectFlavor::FromFirst | SelectFlavor::FromFirstNoSelect => {
                self.clause("FROM before SELECT", &["FROM"])?;
            }
        }
        match group_by {
            GroupByExpr::All(_) => self.clause("GROUP BY ALL", &["GROUP", "BY", "ALL"])?,
            GroupByExpr::Expressions(_, modifiers) => {
                self.unless(modifiers.is_empty(), "a modifier of GROUP BY")?;
            }
        }
        projection.iter().try_for_each(|item| self.item(item))?;
        from.iter().try_for_each(|from| self.joins(from))
    }

    fn item(&self, item: &SelectItem) -> Step {
        match item {
            SelectItem::UnnamedExpr(_) => NEXT,
            SelectItem::ExprWithAlias { expr: _, alias } => self.name(alias),
            SelectItem::ExprWithAliases { expr: _, aliases } => {
                let place = aliases.first().map(|alias| alias.span.start);
                self.foreign("several aliases of one column", place)
            }
            SelectItem::QualifiedWildcard(kind, options) => {
                match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(name) => self.object(name)?,
                    SelectItemQualifiedWildcardKind::Expr(expr) => {
                        self.foreign("the wildcard of an expression", expressions::place(expr))?;
                    }
                }
                self.wildcard(options)
            }
            SelectItem::Wildcard(options) => self.wildcard(options),
        }
    }

    fn wildcard(&self, options: &WildcardAdditionalOptions) -> Step {
        let WildcardAdditionalOptions {
            wildcard_token,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        let plain = opt_ilike.is_none()
            && opt_exclude.is_none()
            && opt_except.is_none()
            && opt_replace.is_none()
            && opt_rename.is_none()
            && opt_alias.is_none();
        if plain {
            return NEXT;
        }
        self.foreign("a wildcard with options", Some(wildcard_token.0.span.start))
    }

    fn keys(&self, keys: &[OrderByExpr]) -> Step {
        keys.iter().try_for_each(|key| self.unless(key.with_fill.is_none(), "WITH FILL"))
    }

    pub(super) fn object(&self, name: &ObjectName) -> Step {
        name.0.iter().try_for_each(|part| match part {
            ObjectNamePart::Identifier(name) => self.name(name),
            ObjectNamePart::Function(function) => self.foreign("a computed name", Some(function.name.span.start)),
        })
    }

    /// `FROM '/etc/passwd'`: a text is no name.
    pub(super) fn name(&self, name: &Ident) -> Step {
        match name.quote_style {
            None | Some('"') => NEXT,
            Some(_) if name.span.start.line > 0 => self.syntax(name.span),
            Some(_) => {
                let text =
                    self.slice.pieces.iter().find(
                        |piece| matches!(&piece.token.token, Token::SingleQuotedString(text) if *text == name.value),
                    );
                self.syntax(text.map_or(Span::empty(), |piece| piece.token.span))
            }
        }
    }

    pub(super) fn unless(&self, absent: bool, clause: &'static str) -> Step {
        if absent {
            NEXT
        } else {
            let words: Vec<&str> = clause.split(' ').collect();
            self.clause(clause, &words)
        }
    }

    pub(super) fn clause(&self, clause: &str, words: &[&str]) -> Step {
        self.foreign(clause, self.find(words))
    }

    pub(super) fn hinted(&self, clause: &str, words: &[&str], hint: &str) -> Step {
        self.foreign(clause, self.find(words)).map_break(|error| Box::new(error.hint(hint)))
    }

    pub(super) fn foreign(&self, what: &str, place: Option<Location>) -> Step {
        ControlFlow::Break(Box::new(
            Error::new(SqlState::FeatureNotSupported, format!("{what} is not supported")).at(self.position(place)),
        ))
    }

    fn refuse_change(&self, what: &str, words: &[&str]) -> Step {
        ControlFlow::Break(Box::new(super::kinds::refuse_change(what).at(self.position(self.find(words)))))
    }

    fn syntax(&self, span: Span) -> Step {
        ControlFlow::Break(Box::new(syntax_error(self.slice, span.start)))
    }

    fn position(&self, place: Option<Location>) -> Option<usize> {
        position_in(self.slice.text, place?).map(|position| self.slice.offset + position)
    }

    /// Where these words first stand in a row: keywords leave no place of their own in a parsed query.
    fn find(&self, words: &[&str]) -> Option<Location> {
        let tokens: Vec<_> =
            self.slice.pieces.iter().filter(|piece| !matches!(piece.token.token, Token::Whitespace(_))).collect();
        let found = tokens.windows(words.len().max(1)).find(|row| {
            !words.is_empty()
                && row.iter().zip(words).all(|(piece, word)| tokens::word(&piece.token.token).as_deref() == Some(*word))
        })?;
        Some(found[0].token.span.start)
    }
}
