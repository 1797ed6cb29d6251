//! The model `ensemble`: several fitted models, each with its own preprocessing, whose predictions become one.
//!
//! It takes the columns of the table as they are; every member encodes them in its own way. **Contract.** Members are saved
//! with it and loaded with it. A member is a learner's model, never an ensemble.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::data::table::{Kind, Schema, Task};
use crate::stats::special::{ln, sigmoid};

use super::learner::{LearnError, Model};
use super::preprocess::{Encode, Encoder, Transform};
use super::table;

/// The kind of these models.
pub const NAME: &str = "ensemble";

/// The newest format of saved ensembles that this release reads, and the one it writes.
const FORMAT: u32 = 1;

/// Probabilities are kept this far from 0 and 1 before their logit is taken.
const EDGE: f64 = 1e-6;

/// How predictions of members become one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Blend {
    /// Their weighted mean.
    Mean {
        /// One per member, at least 0, summing to 1.
        weights: Vec<f64>,
    },
    /// A linear score of their logits (of the numbers themselves for a regression), one per output. Several classes are
    /// scored one against the rest and normalised.
    Linear {
        /// One per output.
        scores: Vec<BlendScore>,
    },
}

/// One linear score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlendScore {
    /// What is added.
    pub intercept: f64,
    /// One per member.
    pub weights: Vec<f64>,
}

/// What a linear blend multiplies: the logit of a probability, or a number itself.
pub fn link(task: Task, prediction: f64) -> f64 {
    if task == Task::Regression {
        return prediction;
    }
    let p = prediction.clamp(EDGE, 1.0 - EDGE);
    ln(p / (1.0 - p))
}

impl Blend {
    /// How many members it takes.
    pub fn members(&self) -> usize {
        match self {
            Blend::Mean { weights } => weights.len(),
            Blend::Linear { scores } => scores.first().map_or(0, |s| s.weights.len()),
        }
    }

    /// The weight of a member: the mean over outputs of its absolute weights.
    pub fn weight(&self, member: usize) -> f64 {
        match self {
            Blend::Mean { weights } => weights[member],
            Blend::Linear { scores } => {
                let all: f64 = scores.iter().map(|s| s.weights[member].abs()).sum();
                all / scores.len() as f64
            }
        }
    }

    /// The blend of some of the members alone.
    pub fn keep(&self, members: &[usize]) -> Blend {
        let pick = |weights: &[f64]| members.iter().map(|&m| weights[m]).collect();
        match self {
            Blend::Mean { weights } => Blend::Mean {
                weights: pick(weights),
            },
            Blend::Linear { scores } => Blend::Linear {
                scores: scores
                    .iter()
                    .map(|s| BlendScore {
                        intercept: s.intercept,
                        weights: pick(&s.weights),
                    })
                    .collect(),
            },
        }
    }

    /// Makes one prediction of those of the members: `member(m)` is the prediction of member `m`, as wide as `out`.
    pub fn apply<'a>(&self, task: Task, member: impl Fn(usize) -> &'a [f64], out: &mut [f64]) {
        out.fill(0.0);
        match self {
            Blend::Mean { weights } => {
                for (m, weight) in weights.iter().enumerate() {
                    if *weight != 0.0 {
                        for (out, p) in out.iter_mut().zip(member(m)) {
                            *out += weight * p;
                        }
                    }
                }
            }
            Blend::Linear { scores } => {
                for (k, (out, score)) in out.iter_mut().zip(scores).enumerate() {
                    let mut sum = score.intercept;
                    for (m, weight) in score.weights.iter().enumerate() {
                        if *weight != 0.0 {
                            sum += weight * link(task, member(m)[k]);
                        }
                    }
                    *out = if task == Task::Regression {
                        sum
                    } else {
                        sigmoid(sum)
                    };
                }
                if task == Task::Multiclass {
                    let all: f64 = out.iter().sum();
                    out.iter_mut().for_each(|p| *p /= all);
                }
            }
        }
        if task != Task::Regression {
            // Weights that sum to 1 up to rounding must not give a probability above it.
            out.iter_mut().for_each(|p| *p = p.clamp(0.0, 1.0));
        }
    }

    fn check(&self, task: Task, width: usize) -> Result<(), String> {
        let members = self.members();
        let good = |w: &[f64]| w.len() == members && w.iter().all(|w| w.is_finite());
        let fits = match self {
            Blend::Mean { weights } => {
                good(weights)
                    && weights.iter().all(|w| *w >= 0.0)
                    && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-9
            }
            Blend::Linear { scores } => {
                scores.len() == width
                    && scores
                        .iter()
                        .all(|s| good(&s.weights) && s.intercept.is_finite())
            }
        };
        let wide = match task {
            Task::Multiclass => width >= 2,
            _ => width == 1,
        };
        if members == 0 || !fits || !wide {
            return Err("its blend does not fit its members".to_owned());
        }
        Ok(())
    }
}

/// One model of an ensemble with the way its rows are encoded.
pub struct Member {
    /// What to call it in reports.
    pub label: String,
    /// From columns of the table to its features.
    pub transform: Transform,
    /// From its features to predictions.
    pub model: Box<dyn Model>,
}

/// How the columns become the features of some of the members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoding {
    encoder: Encoder,
    fills: Vec<Option<f64>>,
}

impl Encoding {
    fn apply(&self, row: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.encoder.rules.len()];
        self.encoder.apply(row, &mut out);
        for (value, fill) in out.iter_mut().zip(&self.fills) {
            if let (true, Some(fill)) = (value.is_nan(), fill) {
                *value = *fill;
            }
        }
        out
    }
}

struct Part {
    label: String,
    encoding: usize,
    model: Box<dyn Model>,
}

/// A fitted ensemble.
pub struct Ensemble {
    task: Task,
    columns: usize,
    blend: Blend,
    encodings: Vec<Encoding>,
    parts: Vec<Part>,
}

impl Ensemble {
    /// Joins members that were fitted on the same table. `columns` is the number of its columns.
    ///
    /// # Errors
    /// [`LearnError::Data`] when blend and members do not fit together.
    pub fn new(
        task: Task,
        columns: usize,
        members: Vec<Member>,
        blend: Blend,
    ) -> Result<Self, LearnError> {
        let mut encodings: Vec<Encoding> = Vec::new();
        let mut parts = Vec::with_capacity(members.len());
        for member in members {
            let encoding = Encoding {
                encoder: member.transform.encoder,
                fills: member.transform.fills,
            };
            let known = encodings.iter().position(|e| *e == encoding);
            let at = known.unwrap_or_else(|| {
                encodings.push(encoding);
                encodings.len() - 1
            });
            parts.push(Part {
                label: member.label,
                encoding: at,
                model: member.model,
            });
        }
        let ensemble = Ensemble {
            task,
            columns,
            blend,
            encodings,
            parts,
        };
        ensemble.check().map_err(|what| LearnError::Data {
            learner: NAME,
            what,
        })?;
        Ok(ensemble)
    }

    /// What comes before an ensemble: every column of the table as it is, without fills.
    pub fn transform(schema: &Schema) -> Transform {
        let names: Vec<String> = schema.fields.iter().map(|f| f.name.clone()).collect();
        let rule = |(column, kind): (usize, (Kind, usize))| match kind {
            (Kind::Numeric | Kind::Text, _) => Encode::Number { column },
            (_, levels) => Encode::Level { column, levels },
        };
        let kinds = schema.fields.iter().map(|f| (f.kind, f.levels.len()));
        let rules: Vec<Encode> = kinds.enumerate().map(rule).collect();
        Transform {
            schema: schema.clone(),
            fills: vec![None; rules.len()],
            encoder: Encoder { names, rules },
        }
    }

    /// The members' labels and models, in the order of the blend's weights.
    pub fn members(&self) -> impl Iterator<Item = (&str, &dyn Model)> {
        self.parts
            .iter()
            .map(|p| (p.label.as_str(), p.model.as_ref()))
    }

    /// How members' predictions become one.
    pub fn blend(&self) -> &Blend {
        &self.blend
    }

    fn check(&self) -> Result<(), String> {
        let width = self.parts.first().map_or(0, |p| p.model.width());
        self.blend.check(self.task, width)?;
        if self.blend.members() != self.parts.len() {
            return Err("weights and members differ in number".to_owned());
        }
        for encoding in &self.encodings {
            let rules = &encoding.encoder.rules;
            if rules.iter().any(|r| r.column() >= self.columns) {
                return Err("an encoding rule points outside of the columns".to_owned());
            }
            if encoding.encoder.names.len() != rules.len() || encoding.fills.len() != rules.len() {
                return Err("names, rules and fills differ in number".to_owned());
            }
        }
        for part in &self.parts {
            let Some(encoding) = self.encodings.get(part.encoding) else {
                return Err(format!("member `{}` has no encoding", part.label));
            };
            if part.model.features() != encoding.encoder.rules.len() || part.model.width() != width
            {
                return Err(format!("member `{}` does not fit its encoding", part.label));
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Saved<'a> {
    format: u32,
    task: Task,
    columns: usize,
    blend: &'a Blend,
    encodings: &'a [Encoding],
    members: Vec<SavedMember<'a>>,
}

#[derive(Serialize)]
struct SavedMember<'a> {
    label: &'a str,
    encoding: usize,
    kind: &'a str,
    model: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    format: u32,
    task: Task,
    columns: usize,
    blend: Blend,
    encodings: Vec<Encoding>,
    members: Vec<OpenedMember>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenedMember {
    label: String,
    encoding: usize,
    kind: String,
    model: Box<RawValue>,
}

impl Model for Ensemble {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn width(&self) -> usize {
        self.parts.first().map_or(1, |p| p.model.width())
    }

    fn features(&self) -> usize {
        self.columns
    }

    fn predict_row(&self, row: &[f64], out: &mut [f64]) {
        let width = out.len();
        let encoded: Vec<Vec<f64>> = self.encodings.iter().map(|e| e.apply(row)).collect();
        let mut predictions = vec![0.0; width * self.parts.len()];
        for (part, place) in self.parts.iter().zip(predictions.chunks_exact_mut(width)) {
            part.model.predict_row(&encoded[part.encoding], place);
        }
        let member = |m: usize| &predictions[m * width..(m + 1) * width];
        self.blend.apply(self.task, member, out);
    }

    fn predict_matrix(&self, matrix: &[f64], out: &mut [f64]) {
        let (width, columns) = (self.width(), self.columns.max(1));
        // Every member reads all rows before the next one does.
        let encoded: Vec<Vec<f64>> = self
            .encodings
            .iter()
            .map(|e| {
                let rows = matrix.chunks_exact(columns);
                rows.flat_map(|row| e.apply(row)).collect()
            })
            .collect();
        let mut predictions = vec![vec![0.0; out.len()]; self.parts.len()];
        for (part, place) in self.parts.iter().zip(&mut predictions) {
            part.model.predict_matrix(&encoded[part.encoding], place);
        }
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            let member = |m: usize| &predictions[m][row * width..(row + 1) * width];
            self.blend.apply(self.task, member, out);
        }
    }

    /// Shares of the columns: those of the members' features, weighted as the members are.
    fn importance(&self) -> Option<Vec<f64>> {
        let mut shares = vec![0.0; self.columns];
        for (m, part) in self.parts.iter().enumerate() {
            let weight = self.blend.weight(m);
            let rules = &self.encodings[part.encoding].encoder.rules;
            for (rule, share) in rules
                .iter()
                .zip(part.model.importance().unwrap_or_default())
            {
                shares[rule.column()] += weight * share;
            }
        }
        let all: f64 = shares.iter().sum();
        if all > 0.0 {
            shares.iter_mut().for_each(|s| *s /= all);
        }
        Some(shares)
    }

    fn save(&self) -> Result<String, LearnError> {
        let bad = |e: serde_json::Error| LearnError::Saved {
            kind: NAME,
            what: e.to_string(),
        };
        let members: Result<Vec<SavedMember<'_>>, LearnError> = self
            .parts
            .iter()
            .map(|part| {
                Ok(SavedMember {
                    label: &part.label,
                    encoding: part.encoding,
                    kind: part.model.kind(),
                    model: RawValue::from_string(part.model.save()?).map_err(bad)?,
                })
            })
            .collect();
        let saved = Saved {
            format: FORMAT,
            task: self.task,
            columns: self.columns,
            blend: &self.blend,
            encodings: &self.encodings,
            members: members?,
        };
        serde_json::to_string(&saved).map_err(bad)
    }
}

/// Reads the saved form.
///
/// # Errors
/// [`LearnError::Saved`] if it is not one, and what the models inside say.
pub fn load(text: &str) -> Result<Box<dyn Model>, LearnError> {
    let bad = |what: String| LearnError::Saved { kind: NAME, what };
    let opened: Opened = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    if opened.format > FORMAT {
        return Err(bad(format!(
            "format {} is newer than this release reads ({FORMAT}); update automl",
            opened.format
        )));
    }
    let parts: Result<Vec<Part>, LearnError> = opened
        .members
        .into_par_iter()
        .map(|member| {
            // Learners only: an ensemble of ensembles would let a file nest without end.
            let entry = table::find(&member.kind).map_err(|e| bad(e.to_string()))?;
            Ok(Part {
                label: member.label,
                encoding: member.encoding,
                model: (entry.load)(member.model.get())?,
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .collect();
    let ensemble = Ensemble {
        task: opened.task,
        columns: opened.columns,
        blend: opened.blend,
        encodings: opened.encodings,
        parts: parts?,
    };
    ensemble.check().map_err(bad)?;
    Ok(Box::new(ensemble))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    #[test]
    fn blends_say_what_they_are() {
        let predictions = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]];
        let mean = Blend::Mean {
            weights: vec![0.25, 0.75],
        };
        let mut out = [0.0; 3];
        mean.apply(Task::Multiclass, |m| &predictions[m][..], &mut out);
        for (out, right) in out.iter().zip([0.5, 0.3, 0.2]) {
            assert!((out - right).abs() < 1e-15);
        }
        // A weight of 1 on one logit and no intercept is that prediction.
        let linear = Blend::Linear {
            scores: vec![BlendScore {
                intercept: 0.0,
                weights: vec![0.0, 1.0],
            }],
        };
        let mut out = [0.0];
        linear.apply(Task::Binary, |m| &predictions[m][..1], &mut out);
        assert!((out[0] - 0.6).abs() < 1e-12);
        linear.apply(Task::Regression, |m| &predictions[m][..1], &mut out);
        assert_eq!(out[0], 0.6);
        assert_eq!(linear.keep(&[1]).members(), 1);
        assert_eq!(linear.weight(0), 0.0);
    }

    #[test]
    fn a_file_that_nests_or_does_not_fit_is_refused() {
        let part = json!({"format": 1, "link": "logistic", "features": 1, "intercepts": [0.5], "terms": []});
        let whole = json!({
            "format": 1, "task": "binary", "columns": 2,
            "blend": {"mean": {"weights": [1.0]}},
            "encodings": [{"encoder": {"names": ["b"], "rules": [{"number": {"column": 1}}]}, "fills": [null]}],
            "members": [{"label": "#3 elastic_net", "encoding": 0, "kind": "elastic_net", "model": part}],
        });
        let model = load(&whole.to_string()).unwrap();
        assert_eq!(
            (model.kind(), model.width(), model.features()),
            (NAME, 1, 2)
        );
        let mut out = [0.0];
        model.predict_row(&[1.0, f64::NAN], &mut out);
        assert_eq!(out[0], sigmoid(0.5));
        assert_eq!(model.save().unwrap(), whole.to_string());

        let refused = |change: &dyn Fn(&mut Json), said: &str| {
            let mut copy = whole.clone();
            change(&mut copy);
            let error = load(&copy.to_string()).err().expect(said).to_string();
            assert!(error.contains(said), "{error}");
        };
        refused(&|j| j["format"] = json!(2), "update automl");
        refused(&|j| j["columns"] = json!(1), "outside of the columns");
        refused(
            &|j| j["blend"]["mean"]["weights"] = json!([0.5, 0.5]),
            "differ in number",
        );
        refused(
            &|j| j["blend"]["mean"]["weights"] = json!([-1.0]),
            "blend does not fit",
        );
        refused(&|j| j["members"] = json!([]), "blend does not fit");
        refused(&|j| j["task"] = json!("multiclass"), "blend does not fit");
        refused(
            &|j| j["members"][0]["encoding"] = json!(7),
            "has no encoding",
        );
        refused(
            &|j| j["members"][0]["kind"] = json!("ensemble"),
            "no learner `ensemble`",
        );
        refused(
            &|j| j["members"][0]["model"]["features"] = json!(2),
            "does not fit its encoding",
        );
        refused(
            &|j| j["encodings"][0]["fills"] = json!([]),
            "differ in number",
        );
    }
}
