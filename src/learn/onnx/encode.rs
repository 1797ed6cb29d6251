//! From columns to the matrix of features: the transform of a pipeline as operators.
//!
//! **Contract.** For the cells that `predict` reads, the matrix has the same bits as
//! [`Transform::apply`](crate::learn::preprocess::Transform::apply) gives, level codes aside, which are counted from
//! [`LEVELS_FROM`] so that ONNX Runtime folds sets of them into bit masks. NaN is missing, and so is every text that is no
//! level, the empty one included.

use crate::data::table::{Field, Kind};
use crate::learn::preprocess::{Encode, Transform, ZERO};

use super::graph::{Graph, ML, doubles, int, int_list, ints, tensor, text_list};
use super::proto::DataType;
use super::{OnnxError, Use};

/// The number of the first level in the matrix.
pub(super) const LEVELS_FROM: f64 = 1.0;

/// The columns that any feature reads, in the order of the schema.
pub(super) fn read_columns(transform: &Transform) -> Vec<usize> {
    let mut columns: Vec<usize> = transform.encoder.rules.iter().map(Encode::column).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// What an input holds: numbers also for levels that are all numbers, since `1.0` is the level `1`.
pub(super) fn holds(field: &Field) -> DataType {
    if field.kind == Kind::Numeric || level_numbers(field).is_some() {
        DataType::Double
    } else {
        DataType::String
    }
}

fn level_numbers(field: &Field) -> Option<Vec<f64>> {
    let number = |level: &String| level.parse::<f64>().ok().filter(|n| n.is_finite());
    field.levels.iter().map(number).collect()
}

/// Adds the operators of the transform; the name of the matrix, rows by features. `uses` says how the model reads each
/// feature.
pub(super) fn matrix(
    graph: &mut Graph,
    transform: &Transform,
    uses: &[Use],
) -> Result<String, OnnxError> {
    let rules = &transform.encoder.rules;
    let mut blocks = Vec::new();
    let mut from = 0;
    // Neighbouring features of one column of levels are looked up in one table.
    while from < rules.len() {
        let column = rules[from].column();
        let field = &transform.schema.fields[column];
        let mut to = from + 1;
        if field.kind != Kind::Numeric {
            while to < rules.len() && rules[to].column() == column {
                to += 1;
            }
        }
        let block = match field.kind {
            Kind::Numeric => number(graph, transform, from, uses[from])?,
            Kind::Boolean | Kind::Categorical => levels(graph, transform, from..to, uses)?,
            Kind::Text => return Err(unfit(transform, from)),
        };
        blocks.push(block);
        from = to;
    }
    let names: Vec<&str> = blocks.iter().map(String::as_str).collect();
    let matrix = graph.op("", "Concat", &names, vec![int("axis", 1)]);
    fill(graph, transform, matrix)
}

fn unfit(transform: &Transform, feature: usize) -> OnnxError {
    OnnxError::Rule {
        feature: transform.encoder.names[feature].clone(),
    }
}

/// One feature of a numeric column, as a matrix of one column.
fn number(
    graph: &mut Graph,
    transform: &Transform,
    feature: usize,
    used: Use,
) -> Result<String, OnnxError> {
    let rule = &transform.encoder.rules[feature];
    let name = transform.schema.fields[rule.column()].name.as_str();
    let axis = graph.ints(&[1], &[1]);
    let value = graph.op("", "Unsqueeze", &[name, &axis], Vec::new());
    let nan = |graph: &mut Graph| graph.doubles(&[], &[f64::NAN]);
    Ok(match (rule, used) {
        (Encode::Number { .. }, Use::Number) => value,
        (Encode::NonZero { .. }, Use::Number) => {
            let size = graph.op("", "Abs", &[&value], Vec::new());
            let zero = graph.doubles(&[], &[ZERO]);
            let is_zero = graph.op("", "LessOrEqual", &[&size, &zero], Vec::new());
            let nan = nan(graph);
            graph.op("", "Where", &[&is_zero, &nan, &value], Vec::new())
        }
        // Codes of levels given as numbers: what is no code counts as missing, see `goes_left`.
        (Encode::Number { .. }, Use::Levels(count)) if transform.fills[feature].is_none() => {
            let nan = nan(graph);
            let (low, high) = (
                graph.doubles(&[], &[0.0]),
                graph.doubles(&[], &[count as f64]),
            );
            let above = graph.op("", "GreaterOrEqual", &[&value, &low], Vec::new());
            let below = graph.op("", "Less", &[&value, &high], Vec::new());
            let is_code = graph.op("", "And", &[&above, &below], Vec::new());
            let code = graph.op("", "Floor", &[&value], Vec::new());
            let first = graph.doubles(&[], &[LEVELS_FROM]);
            let shifted = graph.op("", "Add", &[&code, &first], Vec::new());
            graph.op("", "Where", &[&is_code, &shifted, &nan], Vec::new())
        }
        _ => return Err(unfit(transform, feature)),
    })
}

/// The features of a column of levels: a code for each level and one for everything else, and a table of their numbers.
fn levels(
    graph: &mut Graph,
    transform: &Transform,
    features: std::ops::Range<usize>,
    uses: &[Use],
) -> Result<String, OnnxError> {
    let column = transform.encoder.rules[features.start].column();
    let field = &transform.schema.fields[column];
    if field.levels.is_empty() {
        return Err(unfit(transform, features.start));
    }
    let count = field.levels.len();
    let codes: Vec<i64> = (0..count as i64).collect();
    let shape = [count as i64];
    let attributes = match level_numbers(field) {
        Some(numbers) => vec![
            tensor("keys_tensor", doubles(&shape, &numbers)),
            tensor("values_tensor", ints(&shape, &codes)),
            tensor("default_tensor", ints(&[1], &shape)),
        ],
        None => vec![
            text_list("keys_strings", &field.levels),
            int_list("values_int64s", codes),
            int("default_int64", count as i64),
        ],
    };
    let code = graph.op(ML, "LabelEncoder", &[&field.name], attributes);
    // A row of the transform in which only this column has a value.
    let mut row = vec![f64::NAN; transform.schema.fields.len()];
    let mut numbers = Vec::with_capacity((count + 1) * features.len());
    for level in 0..=count {
        row[column] = if level < count {
            level as f64
        } else {
            f64::NAN
        };
        for feature in features.clone() {
            let mut value = transform.encoder.rules[feature].apply(&row);
            if value.is_nan() {
                value = transform.fills[feature].unwrap_or(value);
            }
            if matches!(uses[feature], Use::Levels(_)) {
                value += LEVELS_FROM;
            }
            numbers.push(value);
        }
    }
    let table = graph.doubles(&[count as i64 + 1, features.len() as i64], &numbers);
    Ok(graph.op("", "Gather", &[&table, &code], vec![int("axis", 0)]))
}

/// Puts the fitted fills where numbers are missing; the tables of levels have theirs already.
fn fill(graph: &mut Graph, transform: &Transform, matrix: String) -> Result<String, OnnxError> {
    if transform.fills.iter().all(Option::is_none) {
        return Ok(matrix);
    }
    let fills: Vec<f64> = transform
        .fills
        .iter()
        .map(|f| f.unwrap_or(f64::NAN))
        .collect();
    let row = graph.doubles(&[1, fills.len() as i64], &fills);
    let missing = graph.op("", "IsNaN", &[&matrix], Vec::new());
    Ok(graph.op("", "Where", &[&missing, &row, &matrix], Vec::new()))
}
