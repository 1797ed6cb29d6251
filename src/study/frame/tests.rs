use std::collections::BTreeMap;

use serde_json::json;

use super::super::record::Direction;
use super::super::space::{Assignment, Domain, Params};
use super::*;

fn study(directions: usize) -> StudyRecord {
    StudyRecord {
        name: "s".to_owned(),
        directions: vec![Direction::Minimize; directions],
        user_attrs: BTreeMap::new(),
        system_attrs: BTreeMap::new(),
    }
}

fn assign(name: &str, domain: Domain, internal: f64) -> Assignment {
    Assignment {
        name: name.to_owned(),
        domain,
        internal,
    }
}

/// Every sort of cell: numbers of all kinds, nothing, choices of several types, text that needs quotes.
fn trials() -> Vec<TrialRecord> {
    let mixed = Domain::categorical([Value::Null, Value::Bool(true), "a,\"b\"\n".into()]).unwrap();
    let flag = Domain::categorical([Value::Bool(false), Value::Bool(true)]).unwrap();
    let sizes = Domain::categorical([Value::Int(1), Value::Float(1.5), Value::Null]).unwrap();
    let params = |x: f64, n: f64, at: f64| {
        Params(vec![
            assign("x", Domain::float(0.0, 1.0, None, false).unwrap(), x),
            assign("n", Domain::int(1, 9, 1, false).unwrap(), n),
            assign("mixed", mixed.clone(), at),
            assign("flag", flag.clone(), at.min(1.0)),
            assign("size", sizes.clone(), at),
        ])
    };
    let attrs = |pairs: Json| -> BTreeMap<String, Json> { serde_json::from_value(pairs).unwrap() };
    let first = TrialRecord {
        state: TrialState::Complete,
        params: params(0.1 + 0.2, 3.0, 0.0),
        values: vec![f64::INFINITY],
        intermediate: [(0, f64::NAN), (5, 0.25)].into(),
        user_attrs: attrs(json!({
            "count": 3, "score": "NaN", "wide": 9_007_199_254_740_993_i64, "list": [1, null], "ok": true, "bare": "NaN",
        })),
        started: Some(Timestamp(1_700_000_000_000_001)),
        finished: Some(Timestamp(1_700_000_001_500_001)),
        ..TrialRecord::waiting(0)
    };
    let second = TrialRecord {
        state: TrialState::Complete,
        params: params(1e-300, 4.0, 1.0),
        values: vec![-0.5],
        user_attrs: attrs(json!({"count": null, "score": 1, "wide": 0.5, "list": "text"})),
        ..first.clone()
    };
    let third = TrialRecord {
        state: TrialState::Pruned,
        params: params(0.5, 5.0, 2.0),
        values: Vec::new(),
        user_attrs: BTreeMap::new(),
        finished: None,
        ..first.clone()
    };
    let number = |mut trial: TrialRecord, number| {
        trial.number = number;
        trial
    };
    vec![
        first,
        number(second, 1),
        number(third, 2),
        TrialRecord::waiting(3),
    ]
}

const NAMES: [&str; 17] = [
    "number",
    "value",
    "datetime_start",
    "datetime_complete",
    "duration",
    "params_x",
    "params_n",
    "params_mixed",
    "params_flag",
    "params_size",
    "user_attrs_bare",
    "user_attrs_count",
    "user_attrs_list",
    "user_attrs_ok",
    "user_attrs_score",
    "user_attrs_wide",
    "state",
];

#[test]
fn columns_have_the_narrowest_type_that_keeps_every_cell() {
    let trials = trials();
    let frame = Frame::new(&study(1), &trials);
    let names: Vec<&str> = frame.columns().iter().map(Column::name).collect();
    assert_eq!(names, NAMES);
    let kinds: Vec<Kind> = frame.columns().iter().map(Column::kind).collect();
    use Kind::{Bool, Float, Int, Text, Time};
    assert_eq!(
        kinds,
        [
            Int, Float, Time, Time, Float, Float, Int, Text, Bool, Float, Text, Int, Text, Bool,
            Float, Text, Text
        ]
    );
    assert_eq!(
        frame.states(),
        [("WAITING", 1), ("COMPLETE", 2), ("PRUNED", 1)]
    );
    let two = Frame::new(&study(2), &[]);
    assert_eq!(two.columns()[2].name(), "values_1");
    assert_eq!(two.columns().len(), 7);
}

#[test]
fn csv_keeps_every_number_and_quotes_text() {
    let trials = trials();
    let mut out = Vec::new();
    Frame::new(&study(1), &trials).write_csv(&mut out).unwrap();
    let start = "2023-11-14T22:13:20.000001Z";
    let end = "2023-11-14T22:13:21.500001Z";
    let expected = format!(
        "{}\n\
         0,inf,{start},{end},1.5,0.30000000000000004,3,,false,1.0,NaN,3,\"[1,null]\",true,NaN,9007199254740993,COMPLETE\n\
         1,-0.5,{start},{end},1.5,1e-300,4,true,true,1.5,,,text,,1.0,0.5,COMPLETE\n\
         2,,{start},,,0.5,5,\"a,\"\"b\"\"\n\",true,,,,,,,,PRUNED\n\
         3,,,,,,,,,,,,,,,,WAITING\n",
        NAMES.join(",")
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn json_keeps_types_and_reports() {
    let trials = trials();
    let mut out = Vec::new();
    Frame::new(&study(1), &trials).write_json(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), trials.len(), "a trial per line");
    let read: Vec<Json> = serde_json::from_str(&text).unwrap();
    assert_eq!(read[0]["value"], "inf");
    assert_eq!(
        (&read[0]["intermediate_0"], &read[0]["intermediate_5"]),
        (&json!("NaN"), &json!(0.25))
    );
    let null = read[0].as_object().unwrap().get("params_mixed");
    assert_eq!(null, Some(&Json::Null), "a choice of null is there");
    assert_eq!(read[1]["params_size"], json!(1.5));
    assert_eq!(read[0]["params_size"], json!(1));
    assert_eq!(read[0]["user_attrs_list"], json!([1, null]));
    assert_eq!(read[0]["user_attrs_wide"], json!(9_007_199_254_740_993_i64));
    assert!(read[3].get("params_x").is_none());
    assert_eq!(read[3]["state"], "WAITING");
    let mut out = Vec::new();
    Frame::new(&study(1), &[]).write_json(&mut out).unwrap();
    assert_eq!(out, b"[]\n");
}

/// The crate's own reader finds types, cells and gaps.
#[cfg(feature = "parquet")]
#[test]
fn parquet_has_types_and_gaps() {
    use ::parquet::basic::{LogicalType, Type as Physical};
    use ::parquet::data_type::{ByteArrayType, DoubleType, Int64Type};
    use ::parquet::file::reader::{FileReader, SerializedFileReader};

    let trials = trials();
    let written = |frame: &Frame<'_>| {
        let mut out = tempfile::tempfile().unwrap();
        frame.write_parquet(&mut out).unwrap();
        SerializedFileReader::new(out).unwrap()
    };
    let frame = Frame::new(&study(1), &trials);
    let file = written(&frame);
    let metadata = file.metadata().file_metadata();
    assert_eq!(metadata.num_rows(), 4);
    let schema = metadata.schema_descr();
    for (column, kept) in frame.columns().iter().zip(schema.columns()) {
        assert_eq!(column.name(), kept.name());
        let physical = match column.kind() {
            Kind::Bool => Physical::BOOLEAN,
            Kind::Int | Kind::Time => Physical::INT64,
            Kind::Float => Physical::DOUBLE,
            Kind::Text => Physical::BYTE_ARRAY,
        };
        assert_eq!(kept.physical_type(), physical, "{}", column.name());
    }
    let text = schema.column(16).logical_type_ref().cloned();
    assert_eq!(text, Some(LogicalType::String));
    let group = file.get_row_group(0).unwrap();
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut reader = ::parquet::column::reader::get_typed_column_reader::<DoubleType>(
        group.get_column_reader(1).unwrap(),
    );
    reader
        .read_records(4, Some(&mut levels), None, &mut values)
        .unwrap();
    assert_eq!(
        (levels, values),
        (vec![1, 1, 0, 0], vec![f64::INFINITY, -0.5])
    );
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut reader = ::parquet::column::reader::get_typed_column_reader::<Int64Type>(
        group.get_column_reader(2).unwrap(),
    );
    reader
        .read_records(4, Some(&mut levels), None, &mut values)
        .unwrap();
    assert_eq!(
        (levels, values),
        (vec![1, 1, 1, 0], vec![1_700_000_000_000_001; 3])
    );
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut reader = ::parquet::column::reader::get_typed_column_reader::<ByteArrayType>(
        group.get_column_reader(7).unwrap(),
    );
    reader
        .read_records(4, Some(&mut levels), None, &mut values)
        .unwrap();
    assert_eq!(levels, [0, 1, 1, 0]);
    let texts: Vec<&str> = values.iter().map(|v| v.as_utf8().unwrap()).collect();
    assert_eq!(texts, ["true", "a,\"b\"\n"]);
    let empty = written(&Frame::new(&study(1), &[]));
    assert_eq!(empty.metadata().file_metadata().num_rows(), 0);
}
