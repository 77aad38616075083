//! Which relations a `FROM` may name: tables, queries and functions as Postgres has them, joined as Postgres joins.
//!
//! In: one relation or join. Out: nothing, or a refusal with its place; see [`super::clauses`].

use datafusion::sql::sqlparser::ast::{Join, JoinOperator, TableAlias, TableFactor, TableWithJoins};

use super::clauses::{NEXT, Step, Walk};

impl Walk<'_> {
    pub(super) fn joins(&self, from: &TableWithJoins) -> Step {
        from.joins.iter().try_for_each(|join| {
            let Join { relation: _, global, join_operator } = join;
            self.unless(!*global, "GLOBAL JOIN")?;
            match join_operator {
                JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_)
                | JoinOperator::CrossJoin(_) => NEXT,
                JoinOperator::Semi(_) | JoinOperator::LeftSemi(_) | JoinOperator::RightSemi(_) => {
                    self.hinted("SEMI JOIN", &["SEMI"], "write EXISTS (…) or IN (…)")
                }
                JoinOperator::Anti(_) | JoinOperator::LeftAnti(_) | JoinOperator::RightAnti(_) => {
                    self.hinted("ANTI JOIN", &["ANTI"], "write NOT EXISTS (…)")
                }
                JoinOperator::CrossApply | JoinOperator::OuterApply => {
                    self.hinted("APPLY", &["APPLY"], "write JOIN LATERAL")
                }
                JoinOperator::AsOf { .. } => self.clause("ASOF JOIN", &["ASOF"]),
                JoinOperator::StraightJoin(_) => self.clause("STRAIGHT_JOIN", &["STRAIGHT_JOIN"]),
                JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin => {
                    self.clause("ARRAY JOIN", &["ARRAY", "JOIN"])
                }
            }
        })
    }

    pub(super) fn table(&self, table: &TableFactor) -> Step {
        match table {
            TableFactor::Table {
                name: _,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                self.unless(sample.is_none(), "TABLESAMPLE")?;
                self.unless(!with_ordinality, "WITH ORDINALITY")?;
                self.unless(with_hints.is_empty(), "a table hint")?;
                self.unless(index_hints.is_empty(), "an index hint")?;
                self.unless(version.is_none(), "a version of a table")?;
                self.unless(partitions.is_empty(), "PARTITION")?;
                self.unless(json_path.is_none(), "a path into a table")?;
                let settings = args.as_ref().and_then(|args| args.settings.as_ref());
                self.unless(settings.is_none(), "SETTINGS")?;
                self.alias(alias)
            }
            TableFactor::Derived { lateral: _, subquery: _, alias, sample } => {
                self.unless(sample.is_none(), "TABLESAMPLE")?;
                self.alias(alias)
            }
            TableFactor::Function { lateral: _, name, args: _, with_ordinality, alias } => {
                self.unless(!with_ordinality, "WITH ORDINALITY")?;
                self.object(name)?;
                self.alias(alias)
            }
            TableFactor::UNNEST { alias, array_exprs: _, with_offset, with_offset_alias, with_ordinality } => {
                self.unless(!with_ordinality, "WITH ORDINALITY")?;
                self.unless(!with_offset && with_offset_alias.is_none(), "WITH OFFSET")?;
                self.alias(alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.joins(table_with_joins)?;
                self.alias(alias)
            }
            TableFactor::TableFunction { .. } => self.unless(false, "TABLE (…)"),
            TableFactor::JsonTable { .. } => self.unless(false, "JSON_TABLE"),
            TableFactor::OpenJsonTable { .. } => self.unless(false, "OPENJSON"),
            TableFactor::Pivot { .. } => self.unless(false, "PIVOT"),
            TableFactor::Unpivot { .. } => self.unless(false, "UNPIVOT"),
            TableFactor::MatchRecognize { .. } => self.unless(false, "MATCH_RECOGNIZE"),
            TableFactor::XmlTable { .. } => self.unless(false, "XMLTABLE"),
            TableFactor::SemanticView { .. } => self.unless(false, "SEMANTIC_VIEW"),
        }
    }

    fn alias(&self, alias: &Option<TableAlias>) -> Step {
        let Some(alias) = alias else { return NEXT };
        self.name(&alias.name)?;
        self.unless(alias.at.is_none(), "AT")?;
        alias.columns.iter().try_for_each(|column| {
            self.name(&column.name)?;
            match column.data_type {
                None => NEXT,
                Some(_) => self.foreign("a column definition list", Some(column.name.span.start)),
            }
        })
    }
}
