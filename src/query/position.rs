//! Where in a statement's text something stands: characters from 1, as Postgres counts.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Span};
use datafusion::logical_expr::Expr;

use super::context::Context;

pub(super) fn of_column(context: &Context, column: &Column) -> Option<usize> {
    column.spans.first().and_then(|span| of_span(&context.text, span)).or_else(|| of_word(&context.text, &column.name))
}

/// The first column in `expression`, where the planner kept one.
pub(super) fn of_expression(context: &Context, expression: &Expr) -> Option<usize> {
    let mut found = None;
    let _ = expression.apply(|part| {
        if let Expr::Column(column) = part {
            found = of_column(context, column);
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

fn of_span(text: &str, span: Span) -> Option<usize> {
    let line = usize::try_from(span.start.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(span.start.column).ok()?;
    let before: usize = text.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    Some(before + column)
}

/// First place where `word` stands by itself: a fallback for names the planner gives no place of.
pub(super) fn of_word(text: &str, word: &str) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).find_map(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_word);
        let after = text[at + word.len()..].chars().next().is_some_and(is_word);
        (!before && !after && !word.is_empty()).then(|| text[..at].chars().count() + 1)
    })
}
