//! Postgres's functions about the session and the catalog.
//!
//! In: what the session may see. Out: scalar functions for its context. They answer from [`Objects`] alone; sizes and
//! counts are null, since they would say something about data.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::objects::Objects;
use super::policies;
use super::privileges;
use super::references::Reference;
use super::tables::{constraint_definition, index_definition};
use super::{SystemSession, activity, moments};
use super::{any_equals, functions_of_text, set_functions};
use crate::error::{Error, SqlState};

/// Arguments of one row, as text.
pub(super) type Arguments<'a> = [Option<&'a str>];
pub(super) type Body = Arc<dyn Fn(&[ArrayRef], usize) -> Result<ArrayRef> + Send + Sync>;

/// A function of any number of arguments of any type.
struct Function {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    body: Body,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays: Result<Vec<ArrayRef>> = args.args.iter().map(|value| value.to_array(args.number_rows)).collect();
        (self.body)(&arrays?, args.number_rows).map(ColumnarValue::Array)
    }
}

pub(super) fn function(name: &'static str, returns: DataType, body: Body) -> ScalarUDF {
    made(name, returns, body, Volatility::Stable)
}

/// One that is called once a row, and never while a statement is planned.
pub(super) fn volatile(name: &'static str, returns: DataType, body: Body) -> ScalarUDF {
    made(name, returns, body, Volatility::Volatile)
}

fn made(name: &'static str, returns: DataType, body: Body, volatility: Volatility) -> ScalarUDF {
    let arguments = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
    ScalarUDF::new_from_impl(Function { name, signature: Signature::one_of(arguments, volatility), returns, body })
}

pub(super) fn each_row<T>(arrays: &[ArrayRef], rows: usize, value: impl Fn(&Arguments) -> Result<T>) -> Result<Vec<T>> {
    let texts: Vec<ArrayRef> = arrays.iter().map(|array| Ok(cast(array, &DataType::Utf8)?)).collect::<Result<_>>()?;
    (0..rows)
        .map(|row| {
            let arguments: Vec<Option<&str>> = texts
                .iter()
                .map(|array| {
                    let array = array.as_string::<i32>();
                    array.is_valid(row).then(|| array.value(row))
                })
                .collect();
            value(&arguments)
        })
        .collect()
}

pub(super) type Shared = Arc<Objects>;

pub(super) fn text(
    name: &'static str,
    objects: &Shared,
    value: impl Fn(&Objects, &Arguments) -> Option<String> + Send + Sync + 'static,
) -> ScalarUDF {
    let objects = objects.clone();
    let body = move |arrays: &[ArrayRef], rows| {
        let values = each_row(arrays, rows, |arguments| Ok(value(&objects, arguments)))?;
        Ok(Arc::new(values.into_iter().collect::<StringArray>()) as ArrayRef)
    };
    function(name, DataType::Utf8, Arc::new(body))
}

fn flag(
    name: &'static str,
    objects: &Shared,
    value: impl Fn(&Objects, &Arguments) -> Option<bool> + Send + Sync + 'static,
) -> ScalarUDF {
    let objects = objects.clone();
    let body = move |arrays: &[ArrayRef], rows| {
        let values = each_row(arrays, rows, |arguments| Ok(value(&objects, arguments)))?;
        Ok(Arc::new(values.into_iter().collect::<BooleanArray>()) as ArrayRef)
    };
    function(name, DataType::Boolean, Arc::new(body))
}

fn int(
    name: &'static str,
    objects: &Shared,
    value: impl Fn(&Objects, &Arguments) -> Option<i32> + Send + Sync + 'static,
) -> ScalarUDF {
    let objects = objects.clone();
    let body = move |arrays: &[ArrayRef], rows| {
        let values = each_row(arrays, rows, |arguments| Ok(value(&objects, arguments)))?;
        Ok(Arc::new(values.into_iter().collect::<Int32Array>()) as ArrayRef)
    };
    function(name, DataType::Int32, Arc::new(body))
}

/// Everything that depends on the session. `relations` also holds the system's own relations.
pub(super) fn all(session: &SystemSession, relations: &Shared) -> Vec<ScalarUDF> {
    let mut functions = about_session(session, relations);
    functions.extend(names_and_oids(relations));
    functions.extend(definitions(relations));
    functions.extend(unknown(relations));
    functions.extend(privileges::all(&session.user, relations));
    functions.push(any_equals::any_equals());
    functions.push(policies::role_names(relations));
    functions.extend(functions_of_text::all(relations));
    functions.extend(set_functions::all());
    functions.push(set_config(session));
    functions.extend(activity::functions(&session.signals));
    functions.extend(moments::all(session.moments));
    functions
}

fn about_session(session: &SystemSession, objects: &Shared) -> Vec<ScalarUDF> {
    let mut functions = Vec::new();
    for name in ["session_user", "current_user", "user", "current_role"] {
        let user = session.user.clone();
        functions.push(text(name, objects, move |_, _| Some(user.clone())));
    }
    for name in ["current_database", "current_catalog"] {
        functions.push(text(name, objects, |objects, _| Some(objects.database.clone())));
    }
    let pid = session.backend_pid;
    functions.extend([
        text("version", objects, |_, _| Some(format!("PostgreSQL {}", super::SERVER_VERSION))),
        text("current_schema", objects, |_, _| Some("public".to_owned())),
        int("pg_backend_pid", objects, move |_, _| Some(pid)),
        flag("pg_is_in_recovery", objects, |_, _| Some(false)),
        flag("pg_is_other_temp_schema", objects, |_, _| Some(false)),
        int("pg_my_temp_schema", objects, |_, _| Some(0)),
        text("inet_server_addr", objects, |_, _| None),
        current_schemas(),
        current_setting(session),
    ]);
    functions
}

/// Gives the new value. It is set when the statement has run, as the catalog's queries change nothing themselves.
fn set_config(session: &SystemSession) -> ScalarUDF {
    let made = session.settings_made.clone();
    let body = move |arrays: &[ArrayRef], rows| {
        let values = each_row(arrays, rows, |arguments| {
            let [Some(name), value, local] = arguments else {
                return Ok(None);
            };
            if let Ok(mut made) = made.lock() {
                made.push(((*name).to_owned(), value.map(str::to_owned), *local == Some("true")));
            }
            Ok(value.map(str::to_owned))
        })?;
        Ok(Arc::new(values.into_iter().collect::<StringArray>()) as ArrayRef)
    };
    volatile("set_config", DataType::Utf8, Arc::new(body))
}

fn current_setting(session: &SystemSession) -> ScalarUDF {
    let settings = session.settings.clone();
    let body = move |arrays: &[ArrayRef], rows| {
        let values = each_row(arrays, rows, |arguments| {
            let Some(name) = arguments.first().copied().flatten() else {
                return Ok(None);
            };
            let mut known = settings.iter();
            let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name));
            let missing_ok = arguments.get(1).copied().flatten() == Some("true");
            match found {
                Some((_, value)) => Ok(Some(value.clone())),
                None if missing_ok => Ok(None),
                None => Err(DataFusionError::External(Box::new(Error::new(
                    SqlState::UndefinedObject,
                    format!("unrecognized configuration parameter \"{name}\""),
                )))),
            }
        })?;
        Ok(Arc::new(values.into_iter().collect::<StringArray>()) as ArrayRef)
    };
    function("current_setting", DataType::Utf8, Arc::new(body))
}

/// The search path; with `true` also what Postgres searches without being told.
fn current_schemas() -> ScalarUDF {
    let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let body = |arrays: &[ArrayRef], rows| {
        let implicit = each_row(arrays, rows, |arguments| Ok(arguments.first().copied().flatten() == Some("true")))?;
        let mut list = ListBuilder::new(StringBuilder::new());
        for implicit in implicit {
            if implicit {
                list.values().append_value("pg_catalog");
            }
            list.values().append_value("public");
            list.append(true);
        }
        Ok(Arc::new(list.finish()) as ArrayRef)
    };
    function("current_schemas", DataType::List(item), Arc::new(body))
}

fn names_and_oids(objects: &Shared) -> Vec<ScalarUDF> {
    let visible = |name| {
        flag(name, objects, |objects, arguments| {
            let relation = objects.relation(arguments.first().copied().flatten()?);
            Some(relation.is_some_and(|r| ["public", "pg_catalog"].contains(&r.schema.as_str())))
        })
    };
    let always = |name| flag(name, objects, |_, _| Some(true));
    vec![
        visible("pg_table_is_visible"),
        always("pg_type_is_visible"),
        always("pg_function_is_visible"),
        always("pg_operator_is_visible"),
        always("pg_collation_is_visible"),
        text("pg_get_userbyid", objects, |objects, arguments| {
            let oid = arguments.first().copied().flatten()?;
            let role = objects.roles.iter().find(|r| r.oid.to_string() == oid);
            Some(role.map_or_else(|| format!("unknown (OID={oid})"), |r| r.name.clone()))
        }),
        text("pg_encoding_to_char", objects, |_, _| Some("UTF8".to_owned())),
        int("to_regclass", objects, |objects, arguments| {
            let text = arguments.first().copied().flatten()?;
            objects.relation(text).map(|relation| relation.oid)
        }),
        text("regclass_name", objects, |objects, arguments| {
            let oid = arguments.first().copied().flatten()?;
            let Some(relation) = objects.relation(oid) else {
                return Some(oid.to_owned());
            };
            let in_path = ["public", "pg_catalog"].contains(&relation.schema.as_str());
            Some(if in_path { relation.name.clone() } else { format!("{}.{}", relation.schema, relation.name) })
        }),
        int("to_regnamespace", objects, |objects, arguments| {
            let name = arguments.first().copied().flatten()?;
            name.parse().ok().or_else(|| {
                let schema = objects.schemas.iter().find(|(schema, _)| schema == name)?;
                Some(schema.1)
            })
        }),
        text("regnamespace_name", objects, |objects, arguments| {
            let oid = arguments.first().copied().flatten()?;
            let mut schemas = objects.schemas.iter();
            let found = schemas.find(|(_, known)| known.to_string() == oid);
            Some(found.map_or_else(|| oid.to_owned(), |(name, _)| name.clone()))
        }),
        int("to_regtype", objects, |objects, arguments| {
            let name = arguments.first().copied().flatten()?;
            let name = name.trim().to_lowercase();
            let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
            let short = super::types::short_name(name);
            let oid = || objects.types.get(short.as_str()).copied();
            name.parse().ok().or_else(oid)
        }),
        int("to_regrole", objects, |objects, arguments| {
            let name = arguments.first().copied().flatten()?;
            name.parse().ok().or_else(|| {
                let role = objects.roles.iter().find(|role| role.name == name)?;
                Some(role.oid)
            })
        }),
    ]
}

fn definitions(objects: &Shared) -> Vec<ScalarUDF> {
    vec![
        text("pg_get_indexdef", objects, |objects, arguments| {
            let oid = arguments.first().copied().flatten()?;
            let mut keys = objects.keys.iter();
            let key = keys.find(|key| key.index_oid.to_string() == oid)?;
            match arguments.get(1).copied().flatten() {
                None | Some("0") => Some(index_definition(key)),
                Some(column) => key.columns.get(column.parse::<usize>().ok()? - 1).cloned(),
            }
        }),
        text("pg_get_constraintdef", objects, |objects, arguments| {
            let oid = arguments.first().copied().flatten()?;
            let mut keys = objects.keys.iter();
            if let Some(key) = keys.find(|key| key.constraint_oid.to_string() == oid) {
                return Some(constraint_definition(key));
            }
            let mut references = objects.references.iter();
            references.find(|reference| reference.constraint_oid.to_string() == oid).map(Reference::definition)
        }),
        // Kept as it was written.
        text("pg_get_expr", objects, |_, arguments| arguments.first().copied().flatten().map(str::to_owned)),
        text("pg_get_viewdef", objects, |objects, arguments| {
            objects.relation(arguments.first().copied().flatten()?)?.definition.clone()
        }),
        text("obj_description", objects, |objects, arguments| {
            let relation = objects.relation(arguments.first().copied().flatten()?)?;
            let of_class = arguments.get(1).is_none_or(|class| *class == Some("pg_class"));
            relation.comment.clone().filter(|_| of_class)
        }),
        text("col_description", objects, |objects, arguments| {
            let relation = objects.relation(arguments.first().copied().flatten()?)?;
            let column: usize = arguments.get(1).copied().flatten()?.parse().ok()?;
            let comments = &relation.column_comments;
            comments.get(column.checked_sub(1)?).cloned().flatten()
        }),
    ]
}

/// Things that do not exist here, or that would tell how much data there is.
fn unknown(objects: &Shared) -> Vec<ScalarUDF> {
    let texts = [
        "pg_get_function_arguments",
        "pg_get_function_identity_arguments",
        "pg_get_function_result",
        "pg_get_functiondef",
        "pg_get_partkeydef",
        "pg_get_ruledef",
        "pg_get_serial_sequence",
        "pg_get_statisticsobjdef_columns",
        "pg_get_triggerdef",
        "pg_size_pretty",
        "shobj_description",
        "pg_tablespace_location",
        "pg_advisory_unlock_all",
    ];
    let ints = [
        "pg_database_size",
        "pg_indexes_size",
        "pg_relation_size",
        "pg_stat_get_numscans",
        "pg_table_size",
        "pg_total_relation_size",
    ];
    let texts = texts.map(|name| text(name, objects, |_, _| None));
    let ints = ints.map(|name| int(name, objects, |_, _| None));
    let publishable = flag("pg_relation_is_publishable", objects, |_, _| Some(false));
    texts.into_iter().chain(ints).chain([publishable]).collect()
}

pub(super) fn privilege(
    name: &'static str,
    objects: &Shared,
    value: impl Fn(&Objects, &Arguments) -> Option<bool> + Send + Sync + 'static,
) -> ScalarUDF {
    flag(name, objects, value)
}
