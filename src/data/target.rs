//! The column to predict: which task it asks for, and its classes or numbers.
//!
//! A numeric target with fractions or more than [`MAX_NUMERIC_CLASSES`] different values is regression; everything else is
//! classification, binary with two classes. Classes are in order of their numbers if all are numbers, else in byte order;
//! the positive class of two is the later one unless one is named.

use super::csv::{ReadOptions, stray};
use super::error::{DataError, Place};
use super::infer::{ColumnBuilder, MAX_LEVELS, Meaning};
use super::table::{Kind, Target, Task};

/// Different whole numbers up to which a numeric target is taken as classes.
pub const MAX_NUMERIC_CLASSES: usize = 10;

/// Makes the target of a column's cells. `place` says where the target of a row is.
pub(super) fn judge(
    builder: ColumnBuilder,
    name: &str,
    forced: Option<Kind>,
    options: &ReadOptions,
    file: &str,
    place: impl Fn(u32) -> Place,
) -> Result<Target, DataError> {
    if let Some(row) = builder.first_missing {
        return Err(DataError::MissingTarget {
            place: place(row),
            count: builder.missing,
        });
    }
    if forced == Some(Kind::Text) {
        return Err(DataError::Kind {
            file: file.to_owned(),
            column: name.to_owned(),
            kind: Kind::Text,
            why: "it is the target".to_owned(),
        });
    }
    let wants = match (options.task, forced) {
        (Some(Task::Regression), _) | (None, Some(Kind::Numeric)) => Some(true),
        (Some(_), _) | (None, Some(_)) => Some(false),
        (None, None) => None,
    };
    if wants != Some(false)
        && let Some(mistake) = if wants.is_none() {
            builder.mistake()
        } else {
            builder.first_stray()
        }
    {
        return Err(stray(mistake.clone(), "categorical", &place));
    }
    if wants.unwrap_or_else(|| looks_like_numbers(&builder)) {
        regression(builder, name, options, file)
    } else {
        classification(builder, name, options, file)
    }
}

/// Whether a target is a quantity rather than a class.
fn looks_like_numbers(builder: &ColumnBuilder) -> bool {
    builder.all_numbers()
        && builder.few_texts().is_none_or(|texts| {
            let mut numbers: Vec<f64> = texts
                .iter()
                .filter_map(|t| match t.meaning {
                    Meaning::Number(n) => Some(n),
                    Meaning::NotFinite | Meaning::Text => None,
                })
                .collect();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            numbers.len() > MAX_NUMERIC_CLASSES || numbers.iter().any(|n| n.fract() != 0.0)
        })
}

fn regression(
    builder: ColumnBuilder,
    name: &str,
    options: &ReadOptions,
    file: &str,
) -> Result<Target, DataError> {
    if let Some(positive) = &options.positive {
        return Err(DataError::PositiveWithoutPair {
            file: file.to_owned(),
            column: name.to_owned(),
            positive: positive.clone(),
            what: "numbers".to_owned(),
        });
    }
    let values = builder.into_numbers();
    if values.iter().all(|v| *v == values[0]) {
        return Err(DataError::OneClass {
            file: file.to_owned(),
            column: name.to_owned(),
            class: values[0].to_string(),
        });
    }
    Ok(Target {
        name: name.to_owned(),
        task: Task::Regression,
        classes: Vec::new(),
        values,
    })
}

fn classification(
    builder: ColumnBuilder,
    name: &str,
    options: &ReadOptions,
    file: &str,
) -> Result<Target, DataError> {
    let levels = builder.levels();
    let count = levels.names.len();
    if builder.few_texts().is_none() || count > MAX_LEVELS {
        return Err(DataError::ManyClasses {
            file: file.to_owned(),
            column: name.to_owned(),
            limit: MAX_LEVELS,
        });
    }
    if count == 1 {
        return Err(DataError::OneClass {
            file: file.to_owned(),
            column: name.to_owned(),
            class: levels.names[0].clone(),
        });
    }
    let mismatch = |task, why: &str| {
        Err(DataError::Task {
            file: file.to_owned(),
            column: name.to_owned(),
            task,
            why: why.to_owned(),
        })
    };
    match options.task {
        Some(Task::Binary) if count > 2 => {
            return mismatch(
                Task::Binary,
                &format!("it has {count} classes; write `task: multiclass`"),
            );
        }
        Some(Task::Multiclass) if count == 2 => {
            return mismatch(Task::Multiclass, "it has two classes; write `task: binary`");
        }
        _ => {}
    }
    let order = class_order(&levels.names, options, name, file)?;
    let mut place = vec![0.0; count];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new as f64;
    }
    let classes = order.iter().map(|&i| levels.names[i].clone()).collect();
    let values = builder
        .into_codes(&levels)
        .into_iter()
        .map(|code| place[code as usize])
        .collect();
    Ok(Target {
        name: name.to_owned(),
        task: if count == 2 {
            Task::Binary
        } else {
            Task::Multiclass
        },
        classes,
        values,
    })
}

/// The order of the classes as positions in `names`, which is in byte order.
fn class_order(
    names: &[String],
    options: &ReadOptions,
    target: &str,
    file: &str,
) -> Result<Vec<usize>, DataError> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    let numbers: Option<Vec<f64>> = names
        .iter()
        .map(|n| match Meaning::of(n) {
            Meaning::Number(n) => Some(n),
            Meaning::NotFinite | Meaning::Text => None,
        })
        .collect();
    if let Some(numbers) = numbers {
        order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    }
    let Some(positive) = &options.positive else {
        return Ok(order);
    };
    let number = |text: &str| match Meaning::of(text) {
        Meaning::Number(n) => Some(n),
        Meaning::NotFinite | Meaning::Text => None,
    };
    let wanted = names.iter().position(|n| n == positive).or_else(|| {
        // A configuration may say 1 where the file says 1.0.
        let wanted = number(positive)?;
        names.iter().position(|n| number(n) == Some(wanted))
    });
    let Some(wanted) = wanted else {
        return Err(DataError::UnknownPositive {
            file: file.to_owned(),
            column: target.to_owned(),
            positive: positive.clone(),
            classes: names.to_vec(),
        });
    };
    if names.len() != 2 {
        return Err(DataError::PositiveWithoutPair {
            file: file.to_owned(),
            column: target.to_owned(),
            positive: positive.clone(),
            what: format!("{} classes", names.len()),
        });
    }
    Ok(vec![1 - wanted, wanted])
}
