//! The allow-lists of functions. What is not named here does not exist.

/// Scalar functions. Over rows of persons each runs as its total version; see `expression`.
pub(super) fn scalar(name: &str) -> bool {
    matches!(
        name,
        "abs"
            | "ceil"
            | "floor"
            | "round"
            | "trunc"
            | "sign"
            | "signum"
            | "sqrt"
            | "cbrt"
            | "exp"
            | "ln"
            | "log"
            | "log10"
            | "log2"
            | "power"
            | "pow"
            | "pi"
            | "degrees"
            | "radians"
            | "sin"
            | "cos"
            | "tan"
            | "asin"
            | "acos"
            | "atan"
            | "atan2"
            | "coalesce"
            | "nullif"
            | "nvl"
            | "greatest"
            | "least"
            | "lower"
            | "upper"
            | "initcap"
            | "length"
            | "char_length"
            | "character_length"
            | "octet_length"
            | "btrim"
            | "trim"
            | "ltrim"
            | "rtrim"
            | "left"
            | "right"
            | "substr"
            | "substring"
            | "strpos"
            | "position"
            | "starts_with"
            | "ends_with"
            | "contains"
            | "concat"
            | "concat_ws"
            | "replace"
            | "split_part"
            | "reverse"
            | "regexp_like"
            | "to_char"
            | "date"
            | "date_part"
            | "datepart"
            | "date_trunc"
            | "datetrunc"
            | "date_bin"
            | "extract"
            | "make_date"
            | "to_date"
            | "to_timestamp"
            | "now"
            | "current_timestamp"
            | "current_date"
            | "today"
            | "clamp"
            | "width_bucket"
            | "make_array"
            | "array_element"
            | "array_length"
            | "cardinality"
            | "session_person"
            | "dp_stddev"
            | "dp_interval_low"
            | "dp_interval_high"
    )
}

/// Aggregates of one person's own rows, below a release: any exact, order-free one.
pub(super) fn per_person_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "mean"
            | "min"
            | "max"
            | "stddev"
            | "stddev_samp"
            | "stddev_pop"
            | "var"
            | "var_samp"
            | "var_sample"
            | "var_pop"
            | "var_population"
            | "median"
            | "bool_and"
            | "bool_or"
            | "share"
    )
}

/// Window functions over one person's own rows, besides aggregates.
pub(super) fn person_window(name: &str) -> bool {
    matches!(
        name,
        "row_number"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
            | "ntile"
            | "lag"
            | "lead"
            | "first_value"
            | "last_value"
            | "nth_value"
    )
}

/// Aggregates that a release answers.
pub(super) fn released_aggregate(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "mean"
            | "share"
            | "var"
            | "var_pop"
            | "var_samp"
            | "stddev"
            | "stddev_pop"
            | "stddev_samp"
            | "covar_pop"
            | "covar_samp"
            | "corr"
            | "regr_slope"
            | "regr_intercept"
            | "regr_r2"
            | "regr_count"
            | "regr_avgx"
            | "regr_avgy"
            | "median"
            | "approx_median"
            | "percentile_cont"
            | "percentile_disc"
            | "approx_percentile_cont"
            | "min"
            | "max"
            | "mode"
    )
}

/// Aggregates of Postgres that the engine does not know: refused as the others are, and not as if they were misspelled.
pub(super) fn unknown_aggregate(name: &str) -> bool {
    matches!(
        name,
        "every"
            | "any_value"
            | "json_agg"
            | "jsonb_agg"
            | "json_agg_strict"
            | "jsonb_agg_strict"
            | "json_arrayagg"
            | "json_object_agg"
            | "jsonb_object_agg"
            | "json_objectagg"
            | "xmlagg"
            | "range_agg"
            | "range_intersect_agg"
            | "rank"
            | "dense_rank"
            | "percent_rank"
            | "cume_dist"
    )
}

/// What to write instead of an aggregate that has no private form here.
pub(super) fn aggregate_hint(name: &str) -> &'static str {
    match name {
        "string_agg"
        | "array_agg"
        | "first_value"
        | "last_value"
        | "nth_value"
        | "any_value"
        | "json_agg"
        | "jsonb_agg"
        | "json_agg_strict"
        | "jsonb_agg_strict"
        | "json_arrayagg"
        | "json_object_agg"
        | "jsonb_object_agg"
        | "json_objectagg"
        | "xmlagg"
        | "range_agg"
        | "range_intersect_agg" => "single values belong to single persons; group by the column and use count(*)",
        "bool_and" | "bool_or" | "every" => {
            "use share(condition); whether all or any do is a statement about one person"
        }
        "bit_and" | "bit_or" | "bit_xor" => "use share(condition) for each bit",
        "approx_distinct" => "use count(DISTINCT …)",
        "regr_sxx" | "regr_syy" | "regr_sxy" => "use var_pop, covar_pop and regr_count",
        "rank" | "dense_rank" | "percent_rank" | "cume_dist" => {
            "use share(column <= value) for a point of the distribution"
        }
        _ => "use count, sum, avg, share, stddev, corr or percentile_cont",
    }
}
