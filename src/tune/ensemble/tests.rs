use rand::RngExt;

use super::*;
use crate::learn::metric::find_for;
use crate::seed::Seed;

/// Rows in `folds` folds of `repeats` repeats whose class (or number) hangs on hidden numbers, and candidates that each see
/// one of them with noise.
struct Made {
    task: Task,
    width: usize,
    truths: Vec<Vec<f64>>,
    repeats: Vec<usize>,
    candidates: Vec<Candidate>,
}

fn made(task: Task, members: usize, noise: f64) -> Made {
    let (rows, folds, repeats) = (60, 4, 2);
    let width = if task == Task::Multiclass { 3 } else { 1 };
    let (mut truths, mut repeat_of) = (Vec::new(), Vec::new());
    let mut candidates: Vec<Candidate> = (0..members)
        .map(|m| Candidate {
            trial: 10 + m as u64,
            predictions: Vec::new(),
        })
        .collect();
    for fold in 0..folds * repeats {
        // The same rows in both repeats, in other folds.
        let repeat = fold / folds;
        let part = (fold + repeat) % folds;
        let mut rng = Seed::root(4).child("rows", part as u64).rng();
        let mut truth = Vec::new();
        for _ in 0..rows {
            let hidden: Vec<f64> = (0..3).map(|_| rng.random_range(-1.0..1.0)).collect();
            let z: f64 = hidden.iter().sum();
            truth.push(match task {
                Task::Binary => f64::from(u8::from(z > 0.0)),
                Task::Multiclass => f64::from(u8::from(z > -0.5)) + f64::from(u8::from(z > 0.5)),
                Task::Regression => 1000.0 + 10.0 * z,
            });
            for (m, candidate) in candidates.iter_mut().enumerate() {
                let seen = hidden[m % 3] + noise * rng.random_range(-1.0..1.0);
                let p = 1.0 / (1.0 + (-2.0 * seen).exp());
                match task {
                    Task::Binary => candidate.predictions.push(p),
                    Task::Regression => candidate.predictions.push(1000.0 + 10.0 * seen),
                    Task::Multiclass => {
                        let middle = 0.5 * (1.0 - (2.0 * p - 1.0).abs());
                        let low = (1.0 - p) * (1.0 - middle);
                        candidate
                            .predictions
                            .extend([low, middle, 1.0 - middle - low]);
                    }
                }
            }
        }
        truths.push(truth);
        repeat_of.push(repeat);
    }
    Made {
        task,
        width,
        truths,
        repeats: repeat_of,
        candidates,
    }
}

impl Made {
    fn field(&self, metric: &str) -> Field<'_> {
        Field {
            task: self.task,
            width: self.width,
            metric: find_for(metric, self.task).unwrap(),
            truths: &self.truths,
            weights: None,
            repeats: &self.repeats,
        }
    }
}

#[test]
fn members_that_see_different_things_beat_the_best_one() {
    for (task, metric) in [
        (Task::Binary, "roc_auc"),
        (Task::Binary, "log_loss"),
        (Task::Multiclass, "log_loss"),
        (Task::Multiclass, "accuracy"),
        (Task::Regression, "rmse"),
    ] {
        let made = made(task, 6, 0.2);
        let field = made.field(metric);
        let selection = select(&field, &made.candidates).unwrap();
        let score = |way| selection.scores.iter().find(|s| s.0 == way).unwrap().1;
        let better = |a, b| field.metric.goal.better(a, b);
        assert!(
            better(score(Way::Greedy), score(Way::Best)),
            "{task:?} {metric}"
        );
        assert!(
            better(score(Way::Stacked), score(Way::Best)),
            "{task:?} {metric}"
        );
        assert_ne!(selection.way, Way::Best);
        assert!(
            selection.members.len() >= 3,
            "{task:?} {metric}: {selection:?}"
        );
        assert_eq!(
            selection.predictions.len(),
            made.candidates[0].predictions.len()
        );
        // The honest score is the one of the predictions that are handed on.
        let folds = made.truths.len();
        let again: f64 = (0..folds)
            .map(|f| {
                field
                    .score(f, &selection.predictions[field.range(f)])
                    .unwrap()
            })
            .sum();
        assert_eq!(again / folds as f64, score(selection.way));
    }
}

#[test]
fn a_candidate_that_is_right_is_taken_alone() {
    let mut made = made(Task::Binary, 5, 0.5);
    let truth = made.truths.concat();
    made.candidates[3].predictions = truth.iter().map(|t| 0.1 + 0.8 * t).collect();
    // A second one that is as good: the lower number is taken.
    made.candidates[4].predictions = made.candidates[3].predictions.clone();
    let selection = select(&made.field("roc_auc"), &made.candidates).unwrap();
    assert_eq!(
        (selection.way, &selection.members[..]),
        (Way::Best, &[3][..])
    );
    assert_eq!(selection.blend, Blend::Mean { weights: vec![1.0] });
    assert_eq!(selection.predictions, made.candidates[3].predictions);
}

#[test]
fn choices_among_noise_gain_nothing_by_being_many() {
    // Candidates without any signal: whatever is chosen on the other folds is worth half an area on its own.
    let mut made = made(Task::Binary, 40, 0.2);
    let mut rng = Seed::root(9).child("noise", 0).rng();
    for candidate in &mut made.candidates {
        candidate
            .predictions
            .iter_mut()
            .for_each(|p| *p = rng.random());
    }
    let field = made.field("roc_auc");
    let selection = select(&field, &made.candidates).unwrap();
    for (way, score) in &selection.scores {
        assert!((score - 0.5).abs() < 0.08, "{way:?}: {score}");
    }
    // The score of the same choice on the rows it was made on is far from that.
    let all: Vec<usize> = (0..made.truths.len()).collect();
    let blend = field.choose(Way::Greedy, &made.candidates, &all).unwrap();
    let fitted: f64 = all
        .iter()
        .map(|&f| {
            field
                .score(f, &field.blend(&made.candidates, &blend, f))
                .unwrap()
        })
        .sum::<f64>()
        / all.len() as f64;
    assert!(fitted > 0.56, "{fitted}");
}

#[test]
fn threads_do_not_change_what_is_selected() {
    let made = made(Task::Multiclass, 8, 0.4);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let selection = pool
            .build()
            .unwrap()
            .install(|| select(&made.field("log_loss"), &made.candidates).unwrap());
        format!("{selection:?}")
    };
    assert_eq!(on(1), on(2));
    assert_eq!(on(1), on(8));
}

#[test]
fn one_candidate_and_useless_ones_still_give_a_model() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        let mut made = made(task, 1, 0.3);
        let metric = if task == Task::Regression {
            "rmse"
        } else {
            "log_loss"
        };
        let selection = select(&made.field(metric), &made.candidates).unwrap();
        assert_eq!(selection.members, [0]);
        // One that says the same of every row.
        let width = made.width;
        made.candidates[0].predictions.iter_mut().for_each(|p| {
            *p = if task == Task::Regression {
                5.0
            } else {
                1.0 / width.max(2) as f64
            }
        });
        let selection = select(&made.field(metric), &made.candidates).unwrap();
        assert_eq!(selection.members, [0]);
        assert!(selection.predictions.iter().all(|p| p.is_finite()));
    }
}

#[test]
fn the_best_and_the_best_of_each_learner_are_considered() {
    let mut trials: Vec<(&str, f64)> = (0..100).map(|i| ("gbt", f64::from(i) / 100.0)).collect();
    trials.extend((0..20).map(|i| ("elastic_net", 5.0 - f64::from(i))));
    trials.push(("random_forest", f64::INFINITY));
    let kept = shortlist(&trials);
    assert!(kept.windows(2).all(|w| w[0] < w[1]));
    // The last five linear trials have losses below 0 and are among the best forty.
    let linear = kept.iter().filter(|&&i| trials[i].0 == "elastic_net");
    assert!(linear.count() >= OF_EACH_LEARNER);
    assert!(kept.contains(&0) && kept.contains(&20) && kept.contains(&120) && !kept.contains(&99));
}
