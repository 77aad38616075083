//! Registered tables: where they lie, whose rows they hold, what their columns may be used for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bounds, Class, RowPolicy, RowRules, TextForm};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    Parquet,
    Csv,
}

/// Where a table's files are and how to read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub format: Format,
    /// A path or URL of one file or of a folder (ends in `/`).
    pub url: String,
    /// `OPTIONS (…)`: header, delimiter, timestamp_format, …
    pub options: BTreeMap<String, String>,
}

impl Location {
    /// A folder of the server's own, for `CREATE TABLE`.
    pub fn managed(folder: String) -> Self {
        let options = BTreeMap::from([(MANAGED.to_owned(), "true".to_owned())]);
        Self { format: Format::Parquet, url: folder, options }
    }

    /// Did the server make the folder? Then it goes with the table.
    pub fn is_managed(&self) -> bool {
        self.options.contains_key(MANAGED)
    }
}

/// No statement can write it: Parquet takes no `OPTIONS`.
const MANAGED: &str = "managed";

/// Who may be behind a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Nothing decided yet: nobody can read it.
    Unclassified,
    /// Holds no data about persons.
    Public,
    /// Every row belongs to the person named by `person_key`, under the budget of `policy`.
    Protected { policy: String, person_key: String },
    /// Every row belongs to the person of the row that it refers to: of a table under the same policy, protected or linked
    /// itself. A row that refers to none belongs to nobody.
    Linked { policy: String, by: ForeignKey },
    /// Rows may be read by whom they are granted to, behind the masks of the columns (requirement K1). They never meet rows of
    /// protected tables.
    Directory,
}

/// `FOREIGN KEY (column) REFERENCES table (key)`. `key` is declared unique there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub column: String,
    pub table: String,
    pub key: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// Arrow data type, as `DataType` displays and parses it.
    pub data_type: String,
    pub nullable: bool,
    pub class: Option<Class>,
    pub bounds: Option<Bounds>,
    /// The values there can be, as texts; any other is read as NULL.
    #[serde(default)]
    pub domain: Option<Vec<String>>,
    /// What rows show of it, where rows may be read.
    #[serde(default)]
    pub rules: RowRules,
    /// Of a text: the form that every value of it has.
    #[serde(default)]
    pub form: Option<TextForm>,
}

/// `PRIMARY KEY` or `UNIQUE`. Declared keys are proofs (one row per person), so they are checked against the data
/// before they are relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueKey {
    pub columns: Vec<String>,
    pub primary: bool,
}

impl Column {
    /// Can its values have bounds?
    pub fn is_numeric(&self) -> bool {
        let name = self.data_type.split('(').next().unwrap_or_default();
        matches!(
            name,
            "Int8"
                | "Int16"
                | "Int32"
                | "Int64"
                | "UInt8"
                | "UInt16"
                | "UInt32"
                | "UInt64"
                | "Float16"
                | "Float32"
                | "Float64"
                | "Decimal32"
                | "Decimal64"
                | "Decimal128"
                | "Decimal256"
        )
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    pub location: Location,
    pub columns: Vec<Column>,
    pub unique_keys: Vec<UniqueKey>,
    /// What the administrator declared. It is not held against the data: a value that refers to nothing is allowed.
    #[serde(default)]
    pub foreign_keys: Vec<ForeignKey>,
    pub access: Access,
    /// At most this many rows of one person count. `None`: 1 where the person key is unique, else undecided.
    pub max_rows_per_person: Option<u64>,
    /// At most this many groups one person may reach. `None`: as `max_rows_per_person`.
    pub max_groups_per_person: Option<u64>,
    /// Queries of it need a live purpose.
    #[serde(default)]
    pub purpose_required: bool,
    /// The column that holds the person key of the row's person's manager.
    #[serde(default)]
    pub manager_key: Option<String>,
    /// Which rows count, for whom; by name.
    #[serde(default)]
    pub row_policies: Vec<RowPolicy>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The policy and person key of a table that names its person directly.
    pub fn protection(&self) -> Option<(&str, &str)> {
        match &self.access {
            Access::Protected { policy, person_key } => Some((policy, person_key)),
            Access::Unclassified | Access::Public | Access::Directory | Access::Linked { .. } => None,
        }
    }

    /// The policy whose budget answers about its rows are charged to.
    pub fn policy(&self) -> Option<&str> {
        match &self.access {
            Access::Protected { policy, .. } | Access::Linked { policy, .. } => Some(policy),
            Access::Unclassified | Access::Public | Access::Directory => None,
        }
    }

    /// How it reaches its person, where it does so through another table.
    pub fn link(&self) -> Option<&ForeignKey> {
        match &self.access {
            Access::Linked { by, .. } => Some(by),
            Access::Unclassified | Access::Public | Access::Directory | Access::Protected { .. } => None,
        }
    }

    /// The column that a foreign key to this table means when it names none: the primary key, else the only unique column.
    pub fn single_key(&self) -> Option<&str> {
        let single = |key: &&UniqueKey| key.columns.len() == 1;
        let primary = self.unique_keys.iter().filter(single).find(|key| key.primary);
        let mut others = self.unique_keys.iter().filter(single);
        let only = others.next().filter(|_| others.next().is_none());
        primary.or(only).and_then(|key| key.columns.first()).map(String::as_str)
    }

    /// How many rows of one person count: as declared, else 1 where the person key is declared unique. `None`: undecided.
    ///
    /// A declared key is only a proof once it has been checked against the data; that is the caller's part.
    pub fn rows_per_person(&self) -> Option<u64> {
        let (_, person_key) = self.protection()?;
        self.max_rows_per_person.or_else(|| self.is_unique(&[person_key]).then_some(1))
    }

    pub fn is_unique(&self, columns: &[&str]) -> bool {
        self.unique_keys.iter().any(|key| key.columns.iter().all(|column| columns.contains(&column.as_str())))
    }
}
