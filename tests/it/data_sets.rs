//! The public data sets read as people know them.

use std::fs::File;

use automl::data::csv::{ReadOptions, read_dataset, read_dataset_bytes};
use automl::data::rows::RowReader;
use automl::data::split::{holdout, k_fold};
use automl::data::table::{Dataset, Kind, Task};
use automl::data::{synthetic, telco};
use automl::seed::Seed;

use crate::real_data;

fn columns(data: &Dataset, kind: Kind) -> usize {
    let fields = &data.table.schema.fields;
    fields.iter().filter(|f| f.kind == kind).count()
}

fn missing(data: &Dataset) -> usize {
    let cells = data.table.columns.iter().flat_map(|c| c.iter());
    cells.filter(|v| v.is_nan()).count()
}

/// Rows by class; nothing for a regression.
fn counts(data: &Dataset) -> Vec<usize> {
    let mut counts = vec![0; data.target.classes.len()];
    if data.target.task == Task::Regression {
        return counts;
    }
    for &value in &data.target.values {
        counts[value as usize] += 1;
    }
    counts
}

#[test]
fn the_telco_file() {
    let Some(path) = real_data::telco() else {
        return;
    };
    let source = telco::resolve(Some(&path), None).unwrap();
    let data = telco::load(&source, &telco::options()).unwrap();
    assert_eq!(data.name, "telco");
    assert_eq!(data.sha256, telco::SHA256);
    assert_eq!((data.table.rows, data.table.columns.len()), (7043, 19));
    assert_eq!(data.target.classes, ["No", "Yes"]);
    assert_eq!(counts(&data), [5174, 1869]);
    let total = data.table.schema.position("TotalCharges").unwrap();
    assert_eq!(data.table.schema.fields[total].kind, Kind::Numeric);
    let blank = data.table.columns[total].iter().filter(|v| v.is_nan());
    assert_eq!(blank.count(), 11);
    assert_eq!(missing(&data), 11);
    assert_eq!(
        data.left_out,
        [("customerID".to_owned(), "listed in `drop`".to_owned())]
    );

    let split = holdout(&data.target, 0.2, true, Seed::root(42)).unwrap();
    assert_eq!((split.train.len(), split.test.len()), (5634, 1409));
    let folds = k_fold(&data.target, &split.train, 5, 1, true, Seed::root(42)).unwrap();
    let yes = |rows: &[u32]| -> f64 { rows.iter().map(|&r| data.target.values[r as usize]).sum() };
    assert!(folds.iter().all(|f| yes(&f.test) == 299.0));
}

#[test]
fn the_generated_file_has_the_schema_of_the_real_one() {
    let Some(path) = real_data::telco() else {
        return;
    };
    let real = telco::load(&telco::Source::File(path.clone()), &telco::options()).unwrap();
    let made = telco::load(&telco::Source::Synthetic, &telco::options()).unwrap();
    assert_eq!(made.table.schema, real.table.schema);
    assert_eq!(made.target.classes, real.target.classes);
    assert_eq!(made.name, "telco-synthetic");
    let header = |bytes: &[u8]| bytes.split(|&b| b == b'\n').next().map(<[u8]>::to_vec);
    assert_eq!(
        header(&synthetic::telco()),
        header(&std::fs::read(path).unwrap())
    );
}

#[test]
fn rows_for_prediction_have_the_bits_of_the_dataset() {
    let Some(path) = real_data::telco() else {
        return;
    };
    let data = read_dataset(&path, "telco", &telco::options()).unwrap();
    let file = File::open(&path).unwrap();
    let mut reader = RowReader::new(file, "telco.csv", &data.table.schema).unwrap();
    let mut row = vec![0.0; data.table.columns.len()];
    let mut read = 0;
    while reader.next_row(&mut row).unwrap() {
        for (value, column) in row.iter().zip(&data.table.columns) {
            assert_eq!(value.to_bits(), column[read].to_bits());
        }
        read += 1;
        assert_eq!(reader.line(), read as u64 + 1);
    }
    assert_eq!(read, 7043);
    assert!(reader.unknown_levels().iter().all(|&n| n == 0));
}

/// What is known of a data set: features by kind (numbers with 0/1 columns are boolean), missing cells, classes.
struct Expected {
    file: &'static str,
    target: &'static str,
    rows: usize,
    numeric: usize,
    boolean: usize,
    categorical: usize,
    missing: usize,
    task: Task,
    classes: &'static [usize],
}

#[test]
fn the_other_public_files() {
    let all = [
        Expected {
            file: "adult.csv",
            target: "income",
            rows: 48842,
            numeric: 6,
            boolean: 1,
            categorical: 7,
            missing: 6465,
            task: Task::Binary,
            classes: &[37155, 11687],
        },
        Expected {
            file: "bank_marketing.csv",
            target: "y",
            rows: 45211,
            numeric: 7,
            boolean: 3,
            categorical: 6,
            missing: 0,
            task: Task::Binary,
            classes: &[39922, 5289],
        },
        Expected {
            file: "german_credit.csv",
            target: "class",
            rows: 1000,
            numeric: 7,
            boolean: 2,
            categorical: 11,
            missing: 0,
            task: Task::Binary,
            classes: &[700, 300],
        },
        Expected {
            // One of the 44 indicators is 0 everywhere.
            file: "covertype15k.csv",
            target: "Cover_Type",
            rows: 15000,
            numeric: 11,
            boolean: 43,
            categorical: 0,
            missing: 0,
            task: Task::Multiclass,
            classes: &[5487, 7292, 931, 67, 238, 466, 519],
        },
        Expected {
            file: "wine_quality.csv",
            target: "quality",
            rows: 6497,
            numeric: 11,
            boolean: 1,
            categorical: 0,
            missing: 0,
            task: Task::Regression,
            classes: &[],
        },
        Expected {
            file: "california_housing.csv",
            target: "median_house_value",
            rows: 20640,
            numeric: 8,
            boolean: 0,
            categorical: 1,
            missing: 207,
            task: Task::Regression,
            classes: &[],
        },
    ];
    for expected in all {
        let Some(path) = real_data::find(expected.file) else {
            continue;
        };
        let options = ReadOptions {
            target: Some(expected.target.to_owned()),
            missing: vec!["?".to_owned()],
            task: Some(expected.task),
            ..ReadOptions::default()
        };
        let data = read_dataset(&path, expected.file, &options).unwrap();
        let kinds = [Kind::Numeric, Kind::Boolean, Kind::Categorical].map(|k| columns(&data, k));
        assert_eq!(data.table.rows, expected.rows, "{}", expected.file);
        let known = [expected.numeric, expected.boolean, expected.categorical];
        assert_eq!(kinds, known, "{}", expected.file);
        assert_eq!(missing(&data), expected.missing, "{}", expected.file);
        assert_eq!(counts(&data), expected.classes, "{}", expected.file);
        assert_eq!(data.left_out, [], "{}", expected.file);
        if expected.task == Task::Regression {
            let mean = data.target.values.iter().sum::<f64>() / data.table.rows as f64;
            let known = [
                ("wine_quality.csv", 5.8184),
                ("california_housing.csv", 206855.8169),
            ];
            let known = known.iter().find(|(file, _)| *file == expected.file);
            assert!((mean - known.unwrap().1).abs() < 1e-4, "{mean}");
        }
    }
}

#[test]
fn a_broken_copy_of_the_telco_file_is_refused_with_its_line() {
    let Some(path) = real_data::telco() else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |line: usize, from: &str, to: &str| {
        let mut lines: Vec<String> = lines.iter().map(|&l| l.to_owned()).collect();
        lines[line - 1] = lines[line - 1].replacen(from, to, 1);
        let text = lines.join("\n");
        read_dataset_bytes(text.as_bytes(), "t.csv", "t", &telco::options())
            .unwrap_err()
            .to_string()
    };
    let last = lines.iter().rposition(|l| l.contains("Month-to-month"));
    let line = last.unwrap() + 1;
    let message = broken(line, "Month-to-month", "Month,to,month");
    let expected = format!("`t.csv` line {line}: 23 cells where the header has 21");
    assert!(message.starts_with(&expected), "{message}");
    let charges = lines[6000].split(',').nth(18).unwrap();
    assert!(
        broken(6001, &format!(",{charges},"), ",lots,")
            .starts_with("`t.csv` line 6001, column `MonthlyCharges`: `lots` is not a number"),
    );
}
