//! Which forms of expression a query may have: those of Postgres. What they may be applied to is not decided here.
//!
//! In: one expression. Out: the name of the form where it is not one of Postgres's.

use datafusion::sql::sqlparser::ast::{
    CastKind, CeilFloorKind, DateTimeField, Expr, Function, FunctionArgumentClause, FunctionArguments, Spanned, Value,
};
use datafusion::sql::sqlparser::tokenizer::Location;

/// `None` for the forms that Postgres has.
pub(super) fn foreign(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::CompoundFieldAccess { .. }
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..)
        | Expr::IsNormalized { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::BinaryOp { .. }
        | Expr::SimilarTo { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. }
        | Expr::UnaryOp { .. }
        | Expr::AtTimeZone { .. }
        | Expr::Extract { .. }
        | Expr::Position { .. }
        | Expr::Substring { .. }
        | Expr::Overlay { .. }
        | Expr::Collate { .. }
        | Expr::Nested(_)
        | Expr::Value(_)
        | Expr::Case { .. }
        | Expr::Exists { .. }
        | Expr::Subquery(_)
        | Expr::GroupingSets(_)
        | Expr::Cube(_)
        | Expr::Rollup(_)
        | Expr::Tuple(_)
        | Expr::Interval(_) => None,
        Expr::Like { any, .. } | Expr::ILike { any, .. } => any.then_some("LIKE ANY"),
        Expr::Cast { kind, array, format, .. } => match kind {
            _ if *array || format.is_some() => Some("CAST with options"),
            CastKind::Cast | CastKind::DoubleColon => None,
            CastKind::TryCast => Some("TRY_CAST"),
            CastKind::SafeCast => Some("SAFE_CAST"),
        },
        Expr::Ceil { field, .. } | Expr::Floor { field, .. } => match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => None,
            CeilFloorKind::DateTimeField(_) | CeilFloorKind::Scale(_) => {
                Some("rounding to a unit or scale with ceil and floor")
            }
        },
        Expr::Trim { trim_characters, .. } => trim_characters.is_some().then_some("trim with a list of characters"),
        Expr::TypedString(text) => text.uses_odbc_syntax.then_some("the ODBC escape"),
        Expr::Array(array) => (!array.named).then_some("an array without the word ARRAY"),
        Expr::Function(function) => foreign_call(function),
        Expr::JsonAccess { .. } => Some("a path with a colon"),
        Expr::InUnnest { .. } => Some("IN UNNEST"),
        Expr::RLike { .. } => Some("RLIKE"),
        Expr::Convert { .. } => Some("CONVERT"),
        Expr::Prefixed { .. } => Some("a literal with a character set"),
        Expr::Struct { .. } | Expr::Named { .. } => Some("STRUCT"),
        Expr::Dictionary(_) => Some("a dictionary literal"),
        Expr::Map(_) => Some("a map literal"),
        Expr::MatchAgainst { .. } => Some("MATCH … AGAINST"),
        Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => Some("a wildcard in an expression"),
        Expr::OuterJoin(_) => Some("an outer join with (+)"),
        Expr::Prior(_) => Some("PRIOR"),
        Expr::Lambda(_) => Some("a lambda"),
        Expr::MemberOf(_) => Some("MEMBER OF"),
    }
}

fn foreign_call(function: &Function) -> Option<&'static str> {
    let Function { name: _, uses_odbc_syntax, parameters, args, filter: _, null_treatment, over: _, within_group: _ } =
        function;
    if *uses_odbc_syntax {
        return Some("the ODBC escape");
    }
    match parameters {
        FunctionArguments::None => {}
        FunctionArguments::Subquery(_) | FunctionArguments::List(_) => {
            return Some("a function with parameters before its arguments");
        }
    }
    if null_treatment.is_some() {
        return Some("IGNORE NULLS or RESPECT NULLS");
    }
    let list = match args {
        FunctionArguments::None => return None,
        // `ARRAY(SELECT …)` is how catalog browsers gather names; the query in it is looked at like any other.
        FunctionArguments::Subquery(_) if function.name.to_string().eq_ignore_ascii_case("array") => return None,
        FunctionArguments::Subquery(_) => return Some("a query as arguments of a function"),
        FunctionArguments::List(list) => list,
    };
    list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::OrderBy(_) => None,
        FunctionArgumentClause::IgnoreOrRespectNulls(_) => Some("IGNORE NULLS or RESPECT NULLS"),
        FunctionArgumentClause::Limit(_) => Some("LIMIT inside an aggregate"),
        FunctionArgumentClause::OnOverflow(_) => Some("ON OVERFLOW"),
        FunctionArgumentClause::Having(_) => Some("HAVING inside an aggregate"),
        FunctionArgumentClause::Separator(_) => Some("SEPARATOR"),
        FunctionArgumentClause::JsonNullClause(_) | FunctionArgumentClause::JsonReturningClause(_) => {
            Some("a clause of a JSON constructor")
        }
    })
}

/// Literals of Postgres, and parameters as `$1`.
pub(super) fn is_postgres_value(value: &Value) -> bool {
    match value {
        Value::Number(..)
        | Value::SingleQuotedString(_)
        | Value::DollarQuotedString(_)
        | Value::EscapedStringLiteral(_)
        | Value::UnicodeStringLiteral(_)
        | Value::SingleQuotedByteStringLiteral(_)
        | Value::HexStringLiteral(_)
        | Value::NationalStringLiteral(_)
        | Value::Boolean(_)
        | Value::Null => true,
        Value::Placeholder(name) => {
            name.strip_prefix('$').and_then(|number| number.parse::<u16>().ok()).is_some_and(|number| number > 0)
        }
        Value::TripleSingleQuotedString(_)
        | Value::TripleDoubleQuotedString(_)
        | Value::DoubleQuotedByteStringLiteral(_)
        | Value::TripleSingleQuotedByteStringLiteral(_)
        | Value::TripleDoubleQuotedByteStringLiteral(_)
        | Value::SingleQuotedRawStringLiteral(_)
        | Value::DoubleQuotedRawStringLiteral(_)
        | Value::TripleSingleQuotedRawStringLiteral(_)
        | Value::TripleDoubleQuotedRawStringLiteral(_)
        | Value::QuoteDelimitedStringLiteral(_)
        | Value::NationalQuoteDelimitedStringLiteral(_)
        | Value::DoubleQuotedString(_) => false,
    }
}

pub(super) fn place(expr: &Expr) -> Option<Location> {
    let start = expr.span().start;
    (start.line > 0).then_some(start)
}
