//! Administrators' statements: from names and texts to changes of the policies.
//!
//! Rights are checked by `policy` when a change is applied; what needs the files (columns, keys) is looked up here first.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;

use super::Session;
use super::answer::Answer;
use super::surroundings::public_names;
use crate::catalog::files::arrow_schema;
use crate::error::{Error, Result, SqlState};
use crate::policy::{Access, Capability, Change, Column, Principal, Table, UniqueKey, Verifier, View};
use crate::query::statement::{Admin, DeclaredColumn, RoleOptions};
use crate::query::{check_directory, column_type, directory_query, view_columns};

impl Session {
    /// `text` is the statement with passwords blanked: what the log of changes keeps.
    pub(super) async fn administer(&self, admin: &Admin, text: &str) -> Result<Answer> {
        let actor = self.principal()?;
        let (tag, changes) = self.changes(&actor, admin).await?;
        self.server.catalog.apply(&actor, &changes, text).await?;
        if let Admin::Call(call) = admin {
            self.draw_rotated_key(call).await?;
        }
        self.server.sweep_access().await;
        let policies = self.server.catalog.policies();
        self.server.ledger.forget_before_epoch(policies.release_epoch).await?;
        Ok(Answer::done(tag).with_notices(self.requested(&actor, admin).into_iter().collect()))
    }

    async fn changes(&self, actor: &Principal, admin: &Admin) -> Result<(&'static str, Vec<Change>)> {
        let pairs = |roles: &[String], others: &[String]| -> Vec<(String, String)> {
            roles.iter().flat_map(|role| others.iter().map(move |other| (role.clone(), other.clone()))).collect()
        };
        let set = |columns: &Option<Vec<String>>| {
            columns.as_ref().map(|columns| columns.iter().cloned().collect::<BTreeSet<_>>())
        };
        Ok(match admin {
            Admin::CreateRole(options) if options.if_not_exists && self.has_role(&options.name) => {
                actor.require(Capability::ManageRoles)?;
                ("CREATE ROLE", vec![])
            }
            Admin::CreateRole(options) => ("CREATE ROLE", with_limit(create_role(options)?, options)),
            Admin::AlterRole(options) => ("ALTER ROLE", with_limit(alter_role(options)?, options)),
            Admin::DropRole { names, if_exists } => (
                "DROP ROLE",
                names.iter().map(|name| Change::DropRole { name: name.clone(), if_exists: *if_exists }).collect(),
            ),
            Admin::GrantRole { roles, to } => {
                ("GRANT ROLE", pairs(roles, to).into_iter().map(|(role, to)| Change::GrantRole { role, to }).collect())
            }
            Admin::RevokeRole { roles, from } => (
                "REVOKE ROLE",
                pairs(roles, from).into_iter().map(|(role, from)| Change::RevokeRole { role, from }).collect(),
            ),
            Admin::GrantSelect { tables, columns, to } => {
                let grant = |(table, to)| Change::GrantSelect { table, columns: set(columns), to };
                ("GRANT", pairs(tables, to).into_iter().map(grant).collect())
            }
            Admin::RevokeSelect { tables, columns, from } => {
                let revoke = |(table, from)| Change::RevokeSelect { table, columns: set(columns), from };
                ("REVOKE", pairs(tables, from).into_iter().map(revoke).collect())
            }
            Admin::AlterSystem { name, value } => {
                ("ALTER SYSTEM", vec![Change::SetSystem { name: name.clone(), value: value.clone() }])
            }
            Admin::AlterRoleSet { role, name, value } => {
                ("ALTER ROLE", vec![self.role_setting(actor, role, name, value.as_ref()).await?])
            }
            Admin::CreateExternalTable { .. } => {
                ("CREATE EXTERNAL TABLE", vec![self.create_table(actor, admin).await?])
            }
            Admin::DropTable { names, if_exists } => (
                "DROP TABLE",
                names.iter().map(|name| Change::DropTable { name: name.clone(), if_exists: *if_exists }).collect(),
            ),
            Admin::AlterTable { name, options } => {
                let change = Change::AlterTable { name: name.clone(), options: options.clone() };
                self.refuse_failing_conditions(actor, &change, name).await?;
                ("ALTER TABLE", vec![change])
            }
            Admin::AlterColumn { table, column, options } => {
                let change =
                    Change::AlterColumn { table: table.clone(), column: column.clone(), options: options.clone() };
                self.refuse_untyped_domain(actor, &change)?;
                self.refuse_failing_conditions(actor, &change, table).await?;
                ("ALTER TABLE", vec![change])
            }
            Admin::AddUniqueKey { table, key } => {
                self.refuse_broken_key(actor, table, key).await?;
                ("ALTER TABLE", vec![Change::AddUniqueKey { table: table.clone(), key: key.clone() }])
            }
            Admin::CreateView { .. } => ("CREATE VIEW", vec![self.create_view(actor, admin).await?]),
            Admin::DropView { names, if_exists } => (
                "DROP VIEW",
                names.iter().map(|name| Change::DropView { name: name.clone(), if_exists: *if_exists }).collect(),
            ),
            Admin::Comment { relation, column, text } => (
                "COMMENT",
                vec![Change::Comment { relation: relation.clone(), column: column.clone(), text: text.clone() }],
            ),
            Admin::CreatePolicy { .. } | Admin::AlterPolicy { .. } | Admin::DropPolicy { .. } => {
                self.row_policy(actor, admin)?
            }
            Admin::Call(call) => ("CALL", self.procedure(actor, call)?),
            Admin::AddReference { table, reference } => {
                ("ALTER TABLE", vec![Change::AddReference { table: table.clone(), reference: reference.clone() }])
            }
        })
    }

    fn has_role(&self, name: &str) -> bool {
        self.server.catalog.policies().roles.contains_key(name)
    }

    async fn create_table(&self, actor: &Principal, admin: &Admin) -> Result<Change> {
        let Admin::CreateExternalTable { name, location, columns: declared, unique_keys, references, if_not_exists } =
            admin
        else {
            return Err(Error::internal());
        };
        refuse_others(actor)?;
        let exists = self.server.catalog.policies().tables.contains_key(name);
        let declared = declared.iter().map(declared_column).collect::<Result<Vec<_>>>()?;
        // An existing table is refused, or left alone, by the change itself; its files are not looked at.
        let columns = if exists { declared } else { self.server.files.inspect(location, &declared).await? };
        let table = Table {
            name: name.clone(),
            location: location.clone(),
            columns: columns.clone(),
            unique_keys: unique_keys.clone(),
            foreign_keys: vec![],
            access: Access::Unclassified,
            max_rows_per_person: None,
            max_groups_per_person: None,
            purpose_required: false,
            manager_key: None,
            row_policies: vec![],
        };
        if !exists {
            for key in unique_keys {
                self.refuse_broken(&table, key).await?;
            }
        }
        Ok(Change::CreateTable {
            name: name.clone(),
            location: location.clone(),
            columns,
            unique_keys: unique_keys.clone(),
            references: references.clone(),
            if_not_exists: *if_not_exists,
        })
    }

    /// The query is planned once, with nobody's rights, so that a view that cannot be is refused to who makes it.
    async fn create_view(&self, actor: &Principal, admin: &Admin) -> Result<Change> {
        let Admin::CreateView { name, columns, security_invoker, metric, or_replace, definition, query } = admin else {
            return Err(Error::internal());
        };
        refuse_others(actor)?;
        let around = self.surroundings(query, definition).await?;
        let found = view_columns(&around.context, query, metric.then_some(name.as_str()))?;
        let names: Vec<String> = match columns {
            Some(names) if names.len() == found.fields().len() => names.clone(),
            Some(_) => {
                return Err(Error::new(
                    SqlState::InvalidTableDefinition,
                    "CREATE VIEW names another number of columns than its query has",
                ));
            }
            None => found.fields().iter().map(|field| field.name().clone()).collect(),
        };
        let distinct: BTreeSet<&String> = names.iter().collect();
        if distinct.len() != names.len() {
            return Err(Error::new(SqlState::DuplicateColumn, "a column of the view is specified more than once")
                .hint("give each column of the query a name of its own"));
        }
        let types = found.fields().iter().map(|field| field.data_type().to_string());
        let view = View {
            name: name.clone(),
            columns: names.into_iter().zip(types).collect(),
            definition: definition.clone(),
            security_invoker: *security_invoker,
            metric: *metric,
            reads: public_names(query)?.into_iter().collect(),
        };
        Ok(Change::CreateView { view, or_replace: *or_replace })
    }

    /// Declared values must be values of the column's type. The change is tried first, as it knows what a domain is.
    fn refuse_untyped_domain(&self, actor: &Principal, change: &Change) -> Result<()> {
        let Change::AlterColumn { table, column, .. } = change else {
            return Err(Error::internal());
        };
        let changed = self.server.catalog.policies().apply(actor, change.clone())?;
        let table = changed.tables.get(table).ok_or_else(Error::internal)?;
        let schema = arrow_schema(table)?;
        let data_type = schema.field_with_name(column).map_err(|_| Error::internal())?.data_type();
        let domain = table.column(column).and_then(|column| column.domain.as_ref());
        let fits = |text: &&String| {
            let value = ScalarValue::Utf8(Some((*text).clone())).cast_to(data_type);
            value.is_ok_and(|value| !value.is_null())
        };
        match domain.into_iter().flatten().find(|text| !fits(text)) {
            None => Ok(()),
            Some(odd) => Err(Error::new(
                SqlState::InvalidTextRepresentation,
                format!("\"{odd}\" is not a value of column \"{column}\""),
            )),
        }
    }

    /// The conditions of a directory's masks are planned once, with nobody's rights, so that one that cannot be is refused to who sets
    /// it. Of a table that is no directory yet they must be SQL.
    async fn refuse_failing_conditions(&self, actor: &Principal, change: &Change, table: &str) -> Result<()> {
        let changed = self.server.catalog.policies().apply(actor, change.clone())?;
        let table = changed.tables.get(table).ok_or_else(Error::internal)?;
        let conditional = table.columns.iter().any(|column| column.rules.visible_when.is_some());
        if !conditional {
            return Ok(());
        }
        let query = directory_query(table).map_err(in_condition)?;
        if table.access == Access::Directory {
            let (name, settings) = (table.name.clone(), self.settings_in_force());
            let around = self.surroundings_as(&query, "", Arc::new(changed), actor.clone(), &settings).await?;
            check_directory(&around.context, &name).map_err(in_condition)?;
        }
        Ok(())
    }

    async fn refuse_broken_key(&self, actor: &Principal, table: &str, key: &UniqueKey) -> Result<()> {
        refuse_others(actor)?;
        match self.server.catalog.policies().tables.get(table) {
            Some(table) => self.refuse_broken(table, key).await,
            // The change itself says that there is no such table.
            None => Ok(()),
        }
    }

    /// A key is a proof that later answers rest on, so it is held against the data before it is recorded.
    async fn refuse_broken(&self, table: &Table, key: &UniqueKey) -> Result<()> {
        let schema = arrow_schema(table)?;
        if let Some(missing) = key.columns.iter().find(|column| schema.index_of(column).is_err()) {
            return Err(Error::new(
                SqlState::UndefinedColumn,
                format!("column \"{missing}\" of relation \"{}\" does not exist", table.name),
            ));
        }
        if self.server.files.key_holds(table, key).await? {
            return Ok(());
        }
        Err(Error::new(
            SqlState::UniqueViolation,
            format!("the key ({}) does not hold on table \"{}\"", key.columns.join(", "), table.name),
        )
        .detail("some rows agree in these columns, or have no value there")
        .hint("declare a key that the data has, or correct the files"))
    }
}

/// Places in a condition are none of the statement's.
fn in_condition(error: Error) -> Error {
    let hint = error.hint.unwrap_or_else(|| {
        "visible_when = 'EXISTS (SELECT 1 FROM contact WHERE owner = session_person() AND person = member.person_id)'".to_owned()
    });
    let detail = error.detail.unwrap_or_else(|| "it stands in visible_when of a column".to_owned());
    Error { position: None, hint: Some(hint), detail: Some(detail), ..error }
}

fn refuse_others(actor: &Principal) -> Result<()> {
    if actor.can(Capability::Administer) {
        return Ok(());
    }
    Err(actor.denied(Capability::Administer, "permission denied: tables are an administrator's"))
}

fn declared_column(column: &DeclaredColumn) -> Result<Column> {
    let data_type = column_type(&column.data_type)?;
    Ok(Column {
        name: column.name.clone(),
        data_type: data_type.to_string(),
        nullable: !column.not_null,
        class: None,
        bounds: None,
        domain: None,
        rules: Default::default(),
    })
}

fn create_role(options: &RoleOptions) -> Result<Change> {
    Ok(Change::CreateRole {
        name: options.name.clone(),
        login: options.login.unwrap_or(false),
        createrole: options.createrole.unwrap_or(false),
        verifier: verifier(options)?.flatten(),
        valid_until: valid_until(options)?.flatten(),
        member_of: options.in_role.iter().cloned().collect(),
    })
}

fn alter_role(options: &RoleOptions) -> Result<Change> {
    Ok(Change::AlterRole {
        name: options.name.clone(),
        login: options.login,
        createrole: options.createrole,
        verifier: verifier(options)?,
        valid_until: valid_until(options)?,
    })
}

/// The limit of connections is a change of its own.
fn with_limit(change: Change, options: &RoleOptions) -> Vec<Change> {
    let limit = options.connection_limit.map(|limit| Change::LimitConnections { role: options.name.clone(), limit });
    std::iter::once(change).chain(limit).collect()
}

/// `Some(None)`: `PASSWORD NULL`.
fn verifier(options: &RoleOptions) -> Result<Option<Option<Verifier>>> {
    match &options.password {
        None => Ok(None),
        Some(None) => Ok(Some(None)),
        Some(Some(password)) => Verifier::from_password_clause(password).map(|verifier| Some(Some(verifier))),
    }
}

/// Seconds since 1970; `infinity` is no end.
fn valid_until(options: &RoleOptions) -> Result<Option<Option<i64>>> {
    let text = match options.valid_until.as_deref() {
        None => return Ok(None),
        Some("infinity") => return Ok(Some(None)),
        Some(text) => text,
    };
    moment(text).map(|moment| Some(Some(moment))).ok_or_else(|| {
        Error::new(SqlState::InvalidParameterValue, "VALID UNTIL takes a date or a timestamp")
            .hint("for example '2027-01-01' or '2027-01-01 08:00:00'")
    })
}

/// A date or a timestamp, in seconds since 1970.
pub(super) fn moment(text: &str) -> Option<i64> {
    let day = |t: &str| {
        chrono::NaiveDate::parse_from_str(t, "%Y-%m-%d").ok().and_then(|d| d.and_hms_opt(0, 0, 0)).map(|d| d.and_utc())
    };
    let naive = |t: &str| chrono::NaiveDateTime::parse_from_str(t, "%Y-%m-%d %H:%M:%S").ok().map(|d| d.and_utc());
    let zoned = |t: &str| chrono::DateTime::parse_from_rfc3339(t).ok().map(|d| d.to_utc());
    day(text).or_else(|| naive(text)).or_else(|| zoned(text)).map(|moment| moment.timestamp())
}
