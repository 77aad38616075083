//! Expressions over rows of persons: made total, and followed for what they say about a person.
//!
//! Law (design §3): an expression over person rows cannot fail and cannot act. Casts become TRY_CAST, division by zero gives
//! NULL, integers saturate, functions run as their total versions. A runtime error would tell that some row exists.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, Case, InList, Like, ScalarFunction, TryCast};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, ScalarUDF, lit};

use super::bounds;
use super::context::Context;
use super::facts::{Node, Person, PersonColumn, Rows, weight};
use super::position;
use crate::error::{Error, Result, SqlState};
use crate::policy::Class;

/// A total expression and what is known of its value.
pub(super) struct Derived {
    pub expression: Expr,
    pub facts: PersonColumn,
}

pub(super) fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        _ => expression,
    }
}

/// Follows one expression over the rows of `node`.
pub(super) struct Scope<'a> {
    pub context: &'a Context,
    pub node: &'a Node,
    pub person: &'a Person,
}

impl<'a> Scope<'a> {
    pub fn new(context: &'a Context, node: &'a Node) -> Result<Self> {
        match &node.rows {
            Rows::Person(person) => Ok(Self { context, node, person }),
            Rows::Public(_) => Err(Error::internal()),
        }
    }

    /// Errors: 42501 for columns that must not be read or compared, 0A000 for what has no total version.
    pub fn derive(&self, expression: &Expr) -> Result<Derived> {
        self.derive_part(expression).map_err(|error| error.at(position::of_expression(self.context, expression)))
    }

    /// A plain column as it is, also where it must not be read: its refusal goes with it.
    pub fn hand_on(&self, expression: &Expr) -> Result<Derived> {
        match self.index_of(expression).and_then(|index| self.person.columns.get(index)) {
            Some(facts) => Ok(Derived { expression: expression.clone(), facts: facts.clone() }),
            None => self.derive(expression),
        }
    }

    /// The index of a plain visible column.
    pub fn index_of(&self, expression: &Expr) -> Option<usize> {
        match expression {
            Expr::Column(column) => {
                self.node.plan.schema().maybe_index_of_column(column).filter(|index| *index < self.node.visible)
            }
            Expr::Alias(alias) => self.index_of(&alias.expr),
            _ => None,
        }
    }

    fn derive_part(&self, expression: &Expr) -> Result<Derived> {
        match expression {
            Expr::Alias(alias) => {
                let inner = self.derive(&alias.expr)?;
                let mut named = alias.clone();
                *named.expr = inner.expression;
                Ok(Derived { expression: Expr::Alias(named), facts: inner.facts })
            }
            Expr::Column(column) => {
                let index = self.index_of(expression).ok_or_else(Error::internal)?;
                let facts = self.person.columns.get(index).ok_or_else(Error::internal)?;
                match &facts.refusal {
                    Some(refusal) => Err(refusal.clone().at(position::of_column(self.context, column))),
                    None => Ok(Derived { expression: expression.clone(), facts: facts.clone() }),
                }
            }
            Expr::Literal(value, _) => {
                Ok(Derived { expression: expression.clone(), facts: PersonColumn::constant(bounds::of_literal(value)) })
            }
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Like(like) => {
                refuse_pattern_of_rows(&like.pattern)?;
                let [value, pattern] = self.operands([&like.expr, &like.pattern])?;
                let facts = truth(&[&value.facts, &pattern.facts]);
                let total = Like::new(
                    like.negated,
                    Box::new(value.expression),
                    Box::new(pattern.expression),
                    like.escape_char,
                    like.case_insensitive,
                );
                Ok(Derived { expression: Expr::Like(total), facts })
            }
            Expr::Not(inner) => self.test(inner, Expr::Not),
            Expr::IsNotNull(inner) => self.null_test(inner, Expr::IsNotNull),
            Expr::IsNull(inner) => self.null_test(inner, Expr::IsNull),
            Expr::IsTrue(inner) => self.test(inner, Expr::IsTrue),
            Expr::IsFalse(inner) => self.test(inner, Expr::IsFalse),
            Expr::IsUnknown(inner) => self.test(inner, Expr::IsUnknown),
            Expr::IsNotTrue(inner) => self.test(inner, Expr::IsNotTrue),
            Expr::IsNotFalse(inner) => self.test(inner, Expr::IsNotFalse),
            Expr::IsNotUnknown(inner) => self.test(inner, Expr::IsNotUnknown),
            Expr::Negative(inner) => {
                let [value] = self.operands([inner])?;
                let bounds = value.facts.bounds.and_then(bounds::negated);
                Ok(call(
                    paravent_udfs::total_neg(),
                    vec![value.expression],
                    PersonColumn { bounds, ..mixed(&[&value.facts]) },
                ))
            }
            Expr::Between(between) => {
                let [value, low, high] = self.operands([&between.expr, &between.low, &between.high])?;
                let facts = truth(&[&value.facts, &low.facts, &high.facts]);
                let total = Between::new(
                    Box::new(value.expression),
                    between.negated,
                    Box::new(low.expression),
                    Box::new(high.expression),
                );
                Ok(Derived { expression: Expr::Between(total), facts })
            }
            Expr::Case(case) => self.case(case),
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.clone()),
            Expr::TryCast(cast) => self.cast(&cast.expr, cast.field.clone()),
            Expr::ScalarFunction(function) => self.function(function),
            Expr::InList(list) => {
                let [value] = self.operands([&list.expr])?;
                let members = list.list.iter().map(|member| self.operand(member)).collect::<Result<Vec<_>>>()?;
                let facts = truth(&std::iter::once(&value).chain(&members).map(|d| &d.facts).collect::<Vec<_>>());
                let total = InList::new(
                    Box::new(value.expression),
                    members.into_iter().map(|d| d.expression).collect(),
                    list.negated,
                );
                Ok(Derived { expression: Expr::InList(total), facts })
            }
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) | Expr::ScalarSubquery(_) => {
                Err(Error::new(
                    SqlState::FeatureNotSupported,
                    "a subquery inside an expression over rows of persons is not supported",
                )
                .hint("put it into FROM and join it"))
            }
            Expr::WindowFunction(_) => Err(refuse_window()),
            Expr::AggregateFunction(_) | Expr::GroupingSet(_) => {
                Err(Error::new(SqlState::GroupingError, "aggregate functions are not allowed here"))
            }
            Expr::SimilarTo(_)
            | Expr::ScalarVariable(..)
            | Expr::Unnest(_)
            | Expr::Placeholder(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::HigherOrderFunction(_)
            | Expr::Lambda(_)
            | Expr::LambdaVariable(_) => Err(Error::internal()),
            #[expect(deprecated, reason = "the match names every variant")]
            Expr::Wildcard { .. } => Err(Error::internal()),
        }
    }

    /// An operand of something: identifiers are not.
    fn operand(&self, expression: &Expr) -> Result<Derived> {
        let derived = self.derive(expression)?;
        if derived.facts.class == Class::Identifier {
            return Err(refuse_identifier());
        }
        Ok(derived)
    }

    fn operands<const N: usize>(&self, expressions: [&Expr; N]) -> Result<[Derived; N]> {
        let derived = expressions.into_iter().map(|e| self.operand(e)).collect::<Result<Vec<_>>>()?;
        derived.try_into().map_err(|_| Error::internal())
    }

    fn test(&self, inner: &Expr, make: fn(Box<Expr>) -> Expr) -> Result<Derived> {
        let [value] = self.operands([inner])?;
        let facts = truth(&[&value.facts]);
        Ok(Derived { expression: make(Box::new(value.expression)), facts })
    }

    /// Whether an identifier is there at all may be asked: it says which kind of row this is.
    fn null_test(&self, inner: &Expr, make: fn(Box<Expr>) -> Expr) -> Result<Derived> {
        let mut value = self.derive(inner)?;
        if value.facts.class == Class::Identifier {
            value.facts.class = Class::Attribute;
        }
        let facts = truth(&[&value.facts]);
        Ok(Derived { expression: make(Box::new(value.expression)), facts })
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Derived> {
        if matches!(
            binary.op,
            Operator::RegexMatch
                | Operator::RegexIMatch
                | Operator::RegexNotMatch
                | Operator::RegexNotIMatch
                | Operator::LikeMatch
                | Operator::ILikeMatch
                | Operator::NotLikeMatch
                | Operator::NotILikeMatch
        ) {
            refuse_pattern_of_rows(&binary.right)?;
        }
        let [left, right] = self.operands([&binary.left, &binary.right])?;
        let logical = truth(&[&left.facts, &right.facts]);
        let plain = |left: Derived, right: Derived, facts| Derived {
            expression: Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left.expression),
                binary.op,
                Box::new(right.expression),
            )),
            facts,
        };
        let arithmetic = |function: Arc<ScalarUDF>, left: Derived, right: Derived| {
            let bounds = bounds::of_arithmetic(binary.op, left.facts.bounds, right.facts.bounds);
            let facts = PersonColumn { bounds, zero_one: false, ..mixed(&[&left.facts, &right.facts]) };
            call(function, vec![left.expression, right.expression], facts)
        };
        match binary.op {
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch => Ok(plain(left, right, logical)),
            Operator::Plus => Ok(arithmetic(paravent_udfs::total_add(), left, right)),
            Operator::Minus => Ok(arithmetic(paravent_udfs::total_sub(), left, right)),
            Operator::Multiply => Ok(arithmetic(paravent_udfs::total_mul(), left, right)),
            Operator::Divide | Operator::IntegerDivide => Ok(arithmetic(paravent_udfs::total_div(), left, right)),
            Operator::Modulo => Ok(arithmetic(paravent_udfs::total_mod(), left, right)),
            Operator::StringConcat => {
                let facts = PersonColumn { bounds: None, zero_one: false, ..mixed(&[&left.facts, &right.facts]) };
                let text = Arc::new(arrow::datatypes::Field::new("text", DataType::Utf8, true));
                let as_text = |side: Derived| -> Result<Derived> {
                    Ok(Derived { expression: self.total_cast(side.expression, text.clone())?, facts: side.facts })
                };
                Ok(plain(as_text(left)?, as_text(right)?, facts))
            }
            Operator::BitwiseAnd | Operator::BitwiseOr | Operator::BitwiseXor => {
                let facts = PersonColumn { bounds: None, zero_one: false, ..mixed(&[&left.facts, &right.facts]) };
                Ok(plain(left, right, facts))
            }
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                self.regex(binary.op, left, right, logical)
            }
            Operator::BitwiseShiftRight
            | Operator::BitwiseShiftLeft
            | Operator::AtArrow
            | Operator::ArrowAt
            | Operator::Arrow
            | Operator::LongArrow
            | Operator::HashArrow
            | Operator::HashLongArrow
            | Operator::AtAt
            | Operator::HashMinus
            | Operator::AtQuestion
            | Operator::Question
            | Operator::QuestionAnd
            | Operator::QuestionPipe
            | Operator::Colon => Err(Error::new(
                SqlState::FeatureNotSupported,
                format!("the operator {} is not supported over rows of persons", binary.op),
            )),
        }
    }

    /// `~` and its kin through `regexp_like`, which has a total version.
    fn regex(&self, op: Operator, left: Derived, right: Derived, facts: PersonColumn) -> Result<Derived> {
        let function = self.context.functions.scalar.get("regexp_like").ok_or_else(Error::internal)?;
        let mut arguments = vec![left.expression, right.expression];
        if matches!(op, Operator::RegexIMatch | Operator::RegexNotIMatch) {
            arguments.push(lit("i"));
        }
        let matched = call(Arc::new(paravent_udfs::total(function.clone())), arguments, facts);
        let negated = matches!(op, Operator::RegexNotMatch | Operator::RegexNotIMatch);
        let expression = if negated { Expr::Not(Box::new(matched.expression)) } else { matched.expression };
        Ok(Derived { expression, facts: matched.facts })
    }

    fn case(&self, case: &Case) -> Result<Derived> {
        let subject = case.expr.as_ref().map(|e| self.operand(e)).transpose()?;
        let mut branches = Vec::new();
        for (when, then) in &case.when_then_expr {
            let [when, then] = self.operands([when, then])?;
            branches.push((when, then));
        }
        let otherwise = case.else_expr.as_ref().map(|e| self.operand(e)).transpose()?;
        let values: Vec<&PersonColumn> =
            branches.iter().map(|(_, then)| &then.facts).chain(otherwise.iter().map(|d| &d.facts)).collect();
        let bounds = bounds::hull(values.iter().map(|facts| facts.bounds));
        let zero_one = values.iter().all(|facts| facts.zero_one);
        let all: Vec<&PersonColumn> = values
            .iter()
            .copied()
            .chain(branches.iter().map(|(when, _)| &when.facts))
            .chain(subject.iter().map(|d| &d.facts))
            .collect();
        let facts = PersonColumn { bounds, zero_one, ..mixed(&all) };
        let total = Case::new(
            subject.map(|d| Box::new(d.expression)),
            branches.into_iter().map(|(when, then)| (Box::new(when.expression), Box::new(then.expression))).collect(),
            otherwise.map(|d| Box::new(d.expression)),
        );
        Ok(Derived { expression: Expr::Case(total), facts })
    }

    /// The planner casts to bring types together; a cast of an identifier stays one.
    fn cast(&self, inner: &Expr, field: arrow::datatypes::FieldRef) -> Result<Derived> {
        let value = self.derive(inner)?;
        let numeric = field.data_type().is_numeric();
        let boolean_number = numeric && value.facts.class != Class::Identifier && self.is_boolean(&value.expression);
        let bounds = if boolean_number {
            bounds::unit()
        } else {
            value.facts.bounds.filter(|_| numeric).map(|b| bounds::cast(b, field.data_type()))
        };
        // A cast can bring two persons' keys together, so what comes out is no person key any more.
        let facts = PersonColumn {
            bounds,
            zero_one: numeric && (value.facts.zero_one || boolean_number),
            ..mixed(&[&value.facts])
        };
        let expression = self.total_cast(value.expression, field)?;
        Ok(Derived { expression, facts })
    }

    /// TRY_CAST, and where that can fail, which it does for times far away, a cast that cannot.
    fn total_cast(&self, value: Expr, field: arrow::datatypes::FieldRef) -> Result<Expr> {
        use datafusion::logical_expr::ExprSchemable;
        let from = value.get_type(self.node.plan.schema().as_ref()).map_err(|_| Error::internal())?;
        let to = field.data_type();
        if from != *to && !arrow::compute::can_cast_types(&from, to) {
            return Err(Error::new(SqlState::FeatureNotSupported, "there is no cast between these two types"));
        }
        if from.is_temporal() || to.is_temporal() || matches!(from, DataType::Interval(_) | DataType::Duration(_)) {
            return Ok(paravent_udfs::total_cast(to.clone()).call(vec![value]));
        }
        Ok(Expr::TryCast(TryCast::new_from_field(Box::new(value), field)))
    }

    fn is_boolean(&self, expression: &Expr) -> bool {
        use datafusion::logical_expr::ExprSchemable;
        expression.get_type(self.node.plan.schema().as_ref()).is_ok_and(|data_type| data_type == DataType::Boolean)
    }

    fn function(&self, function: &ScalarFunction) -> Result<Derived> {
        if super::errors_of::ErrorOf::of(&function.func).is_some() {
            return Err(Error::new(SqlState::GroupingError, format!("{} takes an aggregate", function.func.name()))
                .hint(format!("for example {}(count(*))", function.func.name())));
        }
        if function.func.name().starts_with("regexp_") {
            function.args.iter().skip(1).try_for_each(refuse_pattern_of_rows)?;
        }
        let arguments = function.args.iter().map(|argument| self.operand(argument)).collect::<Result<Vec<_>>>()?;
        let facts: Vec<&PersonColumn> = arguments.iter().map(|d| &d.facts).collect();
        let literals: Vec<Option<ScalarValue>> = function.args.iter().map(literal).collect();
        let bounds = bounds::of_function(function.func.name(), &facts, &literals)?;
        let facts = PersonColumn { bounds, zero_one: false, ..mixed(&facts) };
        let total = match function.func.name() {
            // These cannot fail, and the engine optimises them by name.
            "clamp" | "coalesce" | "nvl" | "nullif" | "greatest" | "least" | "now" | "current_date" => {
                function.func.clone()
            }
            _ => Arc::new(paravent_udfs::total(function.func.clone())),
        };
        let expression =
            Expr::ScalarFunction(ScalarFunction::new_udf(total, arguments.into_iter().map(|d| d.expression).collect()));
        Ok(Derived { expression, facts })
    }
}

/// A pattern is compiled, which for some takes seconds: one person's text would decide whether a statement ends in time.
fn refuse_pattern_of_rows(pattern: &Expr) -> Result<()> {
    if pattern.column_refs().is_empty() {
        return Ok(());
    }
    Err(Error::new(SqlState::FeatureNotSupported, "a pattern that differs from row to row is not supported")
        .detail("compiling a person's text as a pattern could fail, or take very long")
        .hint("write the pattern as a literal; strpos, starts_with and contains take columns"))
}

/// The value of a literal, also under the casts that the planner adds.
pub(super) fn literal(expression: &Expr) -> Option<ScalarValue> {
    match expression {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(cast) => literal(&cast.expr).and_then(|value| value.cast_to(cast.field.data_type()).ok()),
        _ => None,
    }
}

/// Does a cast leave different values different? Only then does what is known of a key hold for its cast.
pub(super) fn keeps_apart(from: &DataType, to: &DataType) -> bool {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let wider = from.primitive_width() < to.primitive_width();
    let as_wide = from.primitive_width() <= to.primitive_width();
    from == to
        || (text(from) && text(to))
        || (from.is_signed_integer() && to.is_signed_integer() && as_wide)
        || (from.is_unsigned_integer() && to.is_unsigned_integer() && as_wide)
        || (from.is_unsigned_integer() && to.is_signed_integer() && wider)
}

fn call(function: Arc<ScalarUDF>, arguments: Vec<Expr>, facts: PersonColumn) -> Derived {
    Derived { expression: Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments)), facts }
}

/// A value made of several: as telling as the most telling of them, determined where all are.
fn mixed(parts: &[&PersonColumn]) -> PersonColumn {
    let class = parts.iter().map(|facts| facts.class).max_by_key(|class| weight(*class)).unwrap_or(Class::Public);
    PersonColumn {
        class,
        determined: parts.iter().all(|facts| facts.determined),
        outer: parts.iter().any(|facts| facts.outer),
        ..PersonColumn::constant(None)
    }
}

fn truth(parts: &[&PersonColumn]) -> PersonColumn {
    mixed(parts)
}

pub(super) fn refuse_identifier() -> Error {
    Error::new(
        SqlState::InsufficientPrivilege,
        "an identifier can only join tables, group rows by person or be counted",
    )
    .detail("comparing or computing with an identifier would single out a person")
    .hint("use count(DISTINCT …) on the person key, or a predicate on an attribute")
}

pub(super) fn refuse_window() -> Error {
    Error::new(SqlState::InsufficientPrivilege, "window functions over rows of persons are not released")
        .detail("the result would have one row per row of the table")
        .hint("aggregate with GROUP BY first; windows over the groups are allowed")
}
