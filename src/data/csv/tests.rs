//! What a good file becomes, and what is said about a bad one.

use super::*;

fn options(target: &str) -> ReadOptions {
    ReadOptions {
        target: Some(target.to_owned()),
        ..ReadOptions::default()
    }
}

fn typed(target: &str, types: &[(&str, Kind)]) -> ReadOptions {
    ReadOptions {
        types: types.iter().map(|&(n, k)| (n.to_owned(), k)).collect(),
        ..options(target)
    }
}

fn read(text: &str, options: &ReadOptions) -> Result<Dataset, DataError> {
    read_dataset_bytes(text.as_bytes(), "x.csv", "x", options)
}

fn message(text: &str, options: &ReadOptions) -> String {
    read(text, options).unwrap_err().to_string()
}

/// A file with one column `a` of these cells, and a target `y` of 0 and 1.
fn column(cells: impl IntoIterator<Item = String>) -> String {
    let rows = cells.into_iter().enumerate();
    let rows = rows.map(|(i, cell)| format!("{cell},{}\n", i % 2));
    format!("a,y\n{}", rows.collect::<String>())
}

fn kind_of(text: &str) -> Option<Kind> {
    // A second feature, so that leaving `a` out is no error.
    let text: String = text
        .lines()
        .enumerate()
        .map(|(i, line)| match i {
            0 => format!("{line},other\n"),
            _ => format!("{line},{}\n", i % 7),
        })
        .collect();
    let data = read(&text, &options("y")).unwrap();
    let found = data.table.schema.position("a")?;
    Some(data.table.schema.fields[found].kind)
}

#[test]
fn cells_become_numbers_and_codes() {
    let text = "\u{feff}id, age ,color,smoker,y\r\n1,30,red,Yes,No\r\n\r\n2, ,blue, No,Yes\r\n3,-1e1,,Yes ,No\r\n4,NA,\"red\",No,No\r\n";
    let data = read(
        text,
        &ReadOptions {
            drop: vec!["id".to_owned()],
            ..options("y")
        },
    )
    .unwrap();
    let names: Vec<&str> = data
        .table
        .schema
        .fields
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(names, ["age", "color", "smoker"]);
    let kinds: Vec<Kind> = data.table.schema.fields.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [Kind::Numeric, Kind::Boolean, Kind::Boolean]);
    let shown: Vec<String> = data
        .table
        .columns
        .iter()
        .map(|c| format!("{c:?}"))
        .collect();
    assert_eq!(
        shown,
        [
            "[30.0, NaN, -10.0, NaN]",
            "[1.0, 0.0, NaN, 1.0]",
            "[1.0, 0.0, 1.0, 0.0]"
        ]
    );
    assert_eq!(data.table.schema.fields[1].levels, ["blue", "red"]);
    assert_eq!(data.target.classes, ["No", "Yes"]);
    assert_eq!(data.target.values, [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(data.target.task, Task::Binary);
    assert_eq!(data.sha256, fsio::sha256(text.as_bytes()));
    assert_eq!(
        data.left_out,
        [("id".to_owned(), "listed in `drop`".to_owned())]
    );
    assert_eq!((data.name.as_str(), data.table.rows), ("x", 4));
}

#[test]
fn kinds_are_inferred() {
    let cells = |n: usize, f: fn(usize) -> String| kind_of(&column((0..n).map(f)));
    assert_eq!(cells(9, |i| (i % 2).to_string()), Some(Kind::Boolean));
    assert_eq!(cells(9, |i| format!("{}.0", i % 2)), Some(Kind::Boolean));
    assert_eq!(cells(9, |i| (i % 2 + 1).to_string()), Some(Kind::Numeric));
    assert_eq!(cells(9, |_| "0".to_owned()), Some(Kind::Numeric));
    assert_eq!(cells(9, |_| "same".to_owned()), Some(Kind::Categorical));
    assert_eq!(cells(9, |i| format!("v{}", i % 2)), Some(Kind::Boolean));
    assert_eq!(cells(9, |i| format!("v{}", i % 3)), Some(Kind::Categorical));
    assert_eq!(cells(9, |i| format!("v{i}")), Some(Kind::Categorical));
    assert_eq!(cells(30, |i| format!("v{i}")), None, "an identifier");
    assert_eq!(
        cells(900, |i| format!("v{}", i % 254)),
        Some(Kind::Categorical)
    );
    assert_eq!(cells(900, |i| format!("v{}", i % 255)), None, "too many");
    assert_eq!(cells(900, |i| format!("v{i}")), None);
    assert_eq!(cells(9, |_| " ".to_owned()), None, "nothing in it");
    assert_eq!(cells(900, |i| format!("{i}.5")), Some(Kind::Numeric));
    assert_eq!(
        cells(9, |i| ["1", "2", "3+"][i % 3].to_owned()),
        Some(Kind::Categorical)
    );
    assert_eq!(
        cells(9, |i| ["None", "No", "nan"][i % 3].to_owned()),
        Some(Kind::Categorical),
        "words are levels"
    );
    // Numbers with many different texts among them, as invoice numbers have.
    assert_eq!(
        cells(900, |i| if i % 30 == 0 {
            format!("C{i}")
        } else {
            i.to_string()
        }),
        None
    );
}

#[test]
fn what_is_left_out_is_said() {
    let mut text = String::from("id,note,,empty,age,y\n");
    for i in 0..300 {
        text += &format!("k{i},n{},{i},,{i},{}\n", i % 280, i % 2);
    }
    let data = read(&text, &typed("y", &[("note", Kind::Text)])).unwrap();
    let shown: Vec<String> = data
        .left_out
        .iter()
        .map(|(c, why)| format!("{c}: {why}"))
        .collect();
    assert_eq!(
        shown,
        [
            "id: more than 254 different texts",
            "note: set to text",
            ": it has no name",
            "empty: every cell is missing"
        ]
    );
}

#[test]
fn types_override_what_is_inferred() {
    let text = "a,b,y\n01,2,0\n1,2,1\n2,,0\n";
    let both = [("a", Kind::Categorical), ("b", Kind::Categorical)];
    let data = read(text, &typed("y", &both)).unwrap();
    assert_eq!(
        data.table.schema.fields[0].levels,
        ["01", "2"],
        "01 equals 1"
    );
    assert_eq!(data.table.columns[0], [0.0, 0.0, 1.0]);
    assert_eq!(data.table.schema.fields[1].levels, ["2"]);
    assert_eq!(
        message(text, &typed("y", &[("b", Kind::Boolean)])),
        "`x.csv`, column `b`: it cannot be boolean, it has 1 level, not 2; change `types: {b: …}`"
    );
    let many = column((0..300).map(|i| i.to_string()));
    for kind in [Kind::Categorical, Kind::Boolean] {
        let text = message(&many, &typed("y", &[("a", kind)]));
        assert!(
            text.contains("it has more than 254 different texts"),
            "{text}"
        );
    }
    let empty = read("a,b,y\n,1,0\n,2,1\n", &typed("y", &[("a", Kind::Numeric)])).unwrap();
    assert!(empty.table.columns[0].iter().all(|v| v.is_nan()));
}

#[test]
fn the_task_follows_from_the_target() {
    let task = |cells: &[&str], options: &ReadOptions| {
        let rows: String = cells
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{i},{c}\n"))
            .collect();
        read(&format!("a,y\n{rows}"), options).map(|d| (d.target.task, d.target.classes.join(" ")))
    };
    let plain = options("y");
    let ok = |cells: &[&str]| task(cells, &plain).unwrap();
    assert_eq!(ok(&["No", "Yes"]), (Task::Binary, "No Yes".to_owned()));
    assert_eq!(ok(&["1", "0", "1"]), (Task::Binary, "0 1".to_owned()));
    assert_eq!(
        ok(&["10", "9"]),
        (Task::Binary, "9 10".to_owned()),
        "by number"
    );
    assert_eq!(ok(&["0", "1.0", "1"]), (Task::Binary, "0 1".to_owned()));
    assert_eq!(ok(&["c", "a", "b"]), (Task::Multiclass, "a b c".to_owned()));
    assert_eq!(
        ok(&["3", "2", "11"]),
        (Task::Multiclass, "2 3 11".to_owned())
    );
    assert_eq!(ok(&["0.5", "1"]), (Task::Regression, String::new()));
    let eleven: Vec<String> = (0..11).map(|i| i.to_string()).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    assert_eq!(ok(&eleven).0, Task::Regression);
    assert_eq!(ok(&eleven[..10]).0, Task::Multiclass);

    let with = |t| ReadOptions {
        task: Some(t),
        ..options("y")
    };
    assert_eq!(
        task(&["1", "2", "3"], &with(Task::Regression)).unwrap().0,
        Task::Regression
    );
    assert_eq!(
        task(&eleven, &with(Task::Multiclass)).unwrap().0,
        Task::Multiclass
    );
    let numeric = typed("y", &[("y", Kind::Numeric)]);
    assert_eq!(
        task(&["1", "2", "3"], &numeric).unwrap().0,
        Task::Regression
    );
    let error = |cells: &[&str], o: &ReadOptions| task(cells, o).unwrap_err().to_string();
    assert_eq!(
        error(&["a", "b", "c"], &with(Task::Binary)),
        "`x.csv`, target `y`: it cannot be binary, it has 3 classes; write `task: multiclass`"
    );
    assert_eq!(
        error(&["a", "b"], &with(Task::Multiclass)),
        "`x.csv`, target `y`: it cannot be multiclass, it has two classes; write `task: binary`"
    );
    assert_eq!(
        error(&["1", "2", "low"], &with(Task::Regression)),
        "`x.csv` line 4, column `y`: `low` is not a number; if it means a missing value write `missing: [\"low\"]`, \
         if the column is no number write `types: {y: categorical}`"
    );
    let positive = |p: &str| ReadOptions {
        positive: Some(p.to_owned()),
        ..options("y")
    };
    assert_eq!(
        task(&["good", "bad"], &positive("bad")).unwrap().1,
        "good bad"
    );
    assert_eq!(task(&["1.0", "0.0"], &positive("0")).unwrap().1, "1.0 0.0");
    assert_eq!(
        error(&["Yes", "No"], &positive("yes")),
        "`x.csv`, target `y`: no row has the positive class `yes`; did you mean `Yes`? It has `No`, `Yes`"
    );
    assert_eq!(
        error(&["a", "b", "c"], &positive("b")),
        "`x.csv`, target `y`: `positive: b` needs two classes, and this target has 3 classes; remove `positive`"
    );
    assert_eq!(
        error(&["0.5", "0.7"], &positive("1")),
        "`x.csv`, target `y`: `positive: 1` needs two classes, and this target has numbers; remove `positive`"
    );
    assert_eq!(
        error(&["a"; 3], &plain),
        "`x.csv`, target `y`: every row has `a`; there is nothing to learn, name another target"
    );
    assert!(error(&["1.5"; 3], &plain).contains("every row has `1.5`"));
    assert_eq!(
        error(&["a", "", "b", " "], &plain),
        "`x.csv` line 3, column `y`: the target is missing here and in 2 rows altogether; remove them or fill them in"
    );
    let many: Vec<String> = (0..300).map(|i| format!("k{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        error(&many, &plain),
        "`x.csv`, target `y`: more than 254 classes; name another target, or write `task: regression` if it is a number"
    );
}

#[test]
fn a_missing_file() {
    let error = read_dataset(Path::new("no/such.csv"), "x", &options("y")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no file `no/such.csv`; check the path, which is relative to the folder the command runs in"
    );
    let folder = tempfile::tempdir().unwrap();
    let error = read_dataset(folder.path(), "x", &options("y")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read `"), "{error}");
}

#[test]
fn an_empty_file_and_a_header_alone() {
    let empty =
        "`x.csv` is empty; it needs a header line with the names of the columns and rows below it";
    assert_eq!(message("", &options("y")), empty);
    assert_eq!(message("\n\r\n", &options("y")), empty);
    let no_rows = "`x.csv` has a header but no rows; add rows below line 1";
    assert_eq!(message("a,y\n", &options("y")), no_rows);
    assert_eq!(message("a,y", &options("y")), no_rows);
}

#[test]
fn a_header_that_names_a_column_twice() {
    assert_eq!(
        message("\na,b, a ,y\n1,2,3,4\n", &options("y")),
        "`x.csv` line 2: column `a` is named twice, at positions 1 and 3; rename one of them"
    );
}

#[test]
fn a_ragged_row_has_the_line_of_an_editor() {
    let text = "a,b,y\n\n1,\"two\nlines\",0\n\n1,2\n";
    assert_eq!(
        message(text, &options("y")),
        "`x.csv` line 6: 2 cells where the header has 3; put cells that hold `,` in quotes, or remove the line"
    );
    let windows = text.replace('\n', "\r\n");
    assert!(message(&windows, &options("y")).starts_with("`x.csv` line 6: 2 cells"));
    assert!(message("a,y\n1,0\n1,0,5", &options("y")).starts_with("`x.csv` line 3: 3 cells"));
    let tab = ReadOptions {
        delimiter: b';',
        ..options("y")
    };
    assert!(message("a;y\n1,0\n", &tab).contains("put cells that hold `;` in quotes"));
    let bad = ReadOptions {
        delimiter: b'"',
        ..options("y")
    };
    assert!(message("a;y\n1;0\n", &bad).starts_with("a delimiter must be one ASCII character"));
}

#[test]
fn a_quote_that_is_never_closed() {
    assert_eq!(
        message("a,y\n1,0\n2,\"1\n3,0\n4,1\n", &options("y")),
        "`x.csv` line 3: a quote in this row is never closed; add the closing `\"`"
    );
    assert!(message("a,y\n\"1,0\n2,1\n", &options("y")).contains("line 2: a quote"));
    assert!(read("a,y\n\"1\n\"\"\",0\n\"2\n3\",1\n", &options("y")).is_ok());
}

#[test]
fn bytes_that_are_not_utf8() {
    let bytes = b"name,y\n\"J\xc3\xb6rg\nor not\",0\nJ\xf6rg,1\n";
    let error = read_dataset_bytes(bytes, "x.csv", "x", &options("y")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`x.csv` line 4, column `name`: not UTF-8; save the file as UTF-8 (for example `iconv -f latin1 -t utf-8`)"
    );
    // Two halves of a character in two cells are no character.
    let error = read_dataset_bytes(b"a,y\n\xc3,\xb6\n", "x.csv", "x", &options("y")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`x.csv` line 2, column `a`: not UTF-8")
    );
    let error =
        read_dataset_bytes(b"a,gr\xf6\xdfe\n1,2\n", "x.csv", "x", &options("y")).unwrap_err();
    assert!(
        error.to_string().starts_with("`x.csv` line 1, column `gr"),
        "{error}"
    );
}

#[test]
fn columns_that_do_not_exist() {
    let text = "age,Churn\n1,No\n2,Yes\n";
    assert_eq!(
        message(text, &options("churn")),
        "`target` names column `churn`, which `x.csv` does not have; did you mean `Churn`? It has `age`, `Churn`"
    );
    assert_eq!(
        message(text, &options("income")),
        "`target` names column `income`, which `x.csv` does not have; it has `age`, `Churn`"
    );
    assert_eq!(
        message(text, &ReadOptions::default()),
        "no target is named for `x.csv`; write `target: COLUMN` with one of `age`, `Churn`"
    );
    let drop = ReadOptions {
        drop: vec!["agee".to_owned()],
        ..options("Churn")
    };
    assert!(message(text, &drop).starts_with("`drop` names column `agee`, which"));
    let types = typed("Churn", &[("ag", Kind::Text)]);
    assert!(message(text, &types).starts_with("`types` names column `ag`, which"));
    let drop = ReadOptions {
        drop: vec!["age".to_owned()],
        ..options("Churn")
    };
    assert_eq!(
        message(text, &drop),
        "`x.csv` has no feature: `age` (listed in `drop`); change `drop` or `types`"
    );
}

#[test]
fn text_in_a_column_of_numbers() {
    let cells = |stray: &str, at: usize, n: usize| {
        column((0..n).map(|i| {
            if i == at {
                stray.to_owned()
            } else {
                i.to_string()
            }
        }))
    };
    for n in [5, 100, 1000] {
        assert_eq!(
            message(&cells("old", 3, n), &options("y")),
            "`x.csv` line 5, column `a`: `old` is not a number; if it means a missing value write `missing: [\"old\"]`, \
             if the column is no number write `types: {a: KIND}`"
                .replace("KIND", if n > 254 { "text" } else { "categorical" })
        );
        let missing = ReadOptions {
            missing: vec!["old".to_owned()],
            ..options("y")
        };
        let data = read(&cells("old", 3, n), &missing).unwrap();
        assert_eq!(data.table.schema.fields[0].kind, Kind::Numeric);
        assert!(data.table.columns[0][3].is_nan());
    }
    let late = message(&cells("?", 900, 1000), &options("y"));
    assert!(
        late.starts_with("`x.csv` line 902, column `a`: `?` is not a number"),
        "{late}"
    );
    // Asked for as numbers, one text of two is an error as well.
    let half = column(["1", "low", "2", "high"].map(str::to_owned));
    assert_eq!(kind_of(&half), Some(Kind::Categorical));
    assert!(
        message(&half, &typed("y", &[("a", Kind::Numeric)])).contains("line 3, column `a`: `low`")
    );
}

#[test]
fn nan_and_infinities() {
    for cell in ["NaN", "nan", "inf", "-Infinity", "1e999"] {
        let text = column(["1", cell, "3"].map(str::to_owned));
        assert_eq!(
            message(&text, &options("y")),
            format!(
                "`x.csv` line 3, column `a`: `{cell}` is not a finite number; correct it, leave the cell blank, \
                 or write `missing: [\"{cell}\"]` if it means a missing value"
            )
        );
        let missing = ReadOptions {
            missing: vec![cell.to_owned()],
            ..options("y")
        };
        assert!(read(&text, &missing).unwrap().table.columns[0][1].is_nan());
        let text = column((0..600).map(|i| {
            if i == 500 {
                cell.to_owned()
            } else {
                i.to_string()
            }
        }));
        assert!(message(&text, &options("y")).starts_with("`x.csv` line 502, column `a`"));
    }
}

#[test]
fn a_column_of_weights_is_read_and_is_no_feature() {
    let weighted = ReadOptions {
        weights: Some("w".to_owned()),
        ..options("y")
    };
    let data = read("a,w,y\n1,2,0\n2,0,1\n3,0.5,0\n", &weighted).unwrap();
    assert_eq!(data.weights, Some(vec![2.0, 0.0, 0.5]));
    assert_eq!(data.table.schema.fields.len(), 1);
    assert_eq!(data.left_out[0].1, "it holds the weights of rows");
    assert_eq!(
        read("a,y\n1,0\n2,1\n", &options("y")).unwrap().weights,
        None
    );

    let said = |cell: &str| message(&format!("a,w,y\n1,2,0\n2,{cell},1\n3,1,0\n"), &weighted);
    assert_eq!(
        said("-1"),
        "`x.csv` line 3, column `w`: `-1` is below 0; a weight is a number of at least 0, correct it or remove the row"
    );
    assert!(said("").contains("line 3, column `w`: the weight is missing here"));
    assert!(said("much").contains("line 3, column `w`: `much` is no finite number"));
    assert!(said("inf").contains("`inf` is no finite number"));
    assert!(message("a,w,y\n1,0,0\n2,0,1\n", &weighted).contains("`weights: w` is 0 in every row"));
    assert!(message("a,y\n1,0\n2,1\n", &weighted).contains("`weights` names column `w`"));
    let target = ReadOptions {
        weights: Some("y".to_owned()),
        ..options("y")
    };
    assert!(message("a,y\n1,0\n2,1\n", &target).contains("`weights: y` is the target"));
}
