//! stub
pub fn type_name(data_type: &arrow::datatypes::DataType) -> String {
    data_type.to_string()
}
