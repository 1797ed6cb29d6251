//! Ranks, fronts, crowding, volumes and choices equal Optuna's on the same points (tests/golden/pareto.py).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::*;
use crate::study::record::{CONSTRAINTS, TrialState};
use crate::study::{Stop, Study};

#[derive(Deserialize)]
struct Golden {
    optuna: String,
    points: Vec<Case>,
    splits: Vec<Split>,
}

/// Trials that Optuna's samplers divided.
#[derive(Deserialize)]
pub(in crate::study) struct Split {
    pub directions: Vec<Direction>,
    trials: Vec<Recorded>,
    /// The good ones of TPE.
    pub below: Vec<usize>,
    /// The weights of their kernels and of the prior.
    pub weights: Vec<f64>,
    /// Those that no other beats.
    best: Option<Vec<u64>>,
    /// The twenty that NSGA-II keeps.
    pub elite: Option<Vec<usize>>,
}

#[derive(Clone, Deserialize)]
struct Recorded {
    values: Vec<f64>,
    constraints: Vec<f64>,
    reports: Option<BTreeMap<i64, f64>>,
}

impl Split {
    pub(in crate::study) fn all() -> Vec<Self> {
        let splits = golden().splits;
        assert!(splits.len() > 10);
        splits
    }

    pub(in crate::study) fn trials(&self) -> Vec<TrialRecord> {
        let trials = self.trials.iter().cloned().enumerate();
        let trials = trials.map(|(number, recorded)| {
            let mut trial = TrialRecord::waiting(number as u64);
            let constraints = recorded.constraints.into();
            trial
                .system_attrs
                .insert(CONSTRAINTS.to_owned(), constraints);
            match recorded.reports {
                Some(reports) => {
                    trial.state = TrialState::Pruned;
                    trial.intermediate = reports;
                }
                None => {
                    trial.state = TrialState::Complete;
                    trial.values = recorded.values;
                }
            }
            trial
        });
        trials.collect()
    }
}

#[derive(Deserialize)]
struct Case {
    points: Vec<Vec<Json>>,
    ranks: Vec<usize>,
    front: Vec<usize>,
    crowding: Vec<Json>,
    reference: Option<Vec<f64>>,
    hypervolume: Option<f64>,
    near: Option<Vec<f64>>,
    choices: Option<Vec<Vec<usize>>>,
}

fn number(json: &Json) -> f64 {
    match json.as_str() {
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        _ => json.as_f64().expect("a number"),
    }
}

fn golden() -> Golden {
    let text = include_str!("../../../tests/golden/pareto.json");
    let golden: Golden = serde_json::from_str(text).unwrap();
    assert_eq!(golden.optuna, "5.0.0");
    golden
}

fn losses(case: &Case) -> Vec<Vec<f64>> {
    let point = |p: &Vec<Json>| p.iter().map(number).collect();
    case.points.iter().map(point).collect()
}

#[test]
fn ranks_fronts_and_crowding_are_those_of_optuna() {
    for (at, case) in golden().points.iter().enumerate() {
        let points = losses(case);
        assert_eq!(ranks(&points), case.ranks, "case {at}");
        assert_eq!(front(&points), case.front, "case {at}");
        for (ours, theirs) in crowding(&points).iter().zip(&case.crowding) {
            let theirs = number(theirs);
            assert!(
                *ours == theirs || (ours - theirs).abs() < 1e-12,
                "case {at}: {ours}, not {theirs}"
            );
        }
    }
}

#[test]
fn volumes_are_those_of_optuna() {
    let mut compared = 0;
    for (at, case) in golden().points.iter().enumerate() {
        let (Some(reference), Some(theirs)) = (&case.reference, case.hypervolume) else {
            continue;
        };
        let ours = hypervolume(&losses(case), reference);
        // Both add up products of differences, in different orders.
        assert!(
            (ours - theirs).abs() <= 1e-12 * theirs,
            "case {at}: {ours}, not {theirs}"
        );
        compared += 1;
    }
    assert!(compared > 10);
}

#[test]
fn choices_are_those_of_optuna() {
    let mut compared = 0;
    for (at, case) in golden().points.iter().enumerate() {
        let (Some(near), Some(choices)) = (&case.near, &case.choices) else {
            continue;
        };
        let points = losses(case);
        let front: Vec<Vec<f64>> = case.front.iter().map(|i| points[*i].clone()).collect();
        for theirs in choices {
            let ours = largest_volume(&front, near, theirs.len());
            let mut ours: Vec<usize> = ours.into_iter().map(|i| case.front[i]).collect();
            // Where two add the same, rounding decides which comes first.
            let mut theirs = theirs.clone();
            ours.sort_unstable();
            theirs.sort_unstable();
            assert_eq!(ours, theirs, "case {at}");
            compared += 1;
        }
    }
    assert!(compared > 40);
}

#[test]
fn points_that_reach_nothing_and_points_without_bounds() {
    let reference = [1.0, 1.0];
    let outside = vec![vec![1.0, 0.0], vec![2.0, -5.0], vec![f64::INFINITY, 0.0]];
    assert_eq!(hypervolume(&outside, &reference), 0.0);
    assert_eq!(hypervolume(&[], &reference), 0.0);
    let mut points = outside;
    points.push(vec![0.5, 0.25]);
    assert_eq!(hypervolume(&points, &reference), 0.375);
    points.push(vec![f64::NEG_INFINITY, 0.5]);
    assert_eq!(hypervolume(&points, &reference), f64::INFINITY);
    assert_eq!(
        hypervolume(&points[3..4], &[f64::INFINITY, 1.0]),
        f64::INFINITY
    );
    // Infinite volumes are chosen first, and nothing is chosen twice.
    let chosen = largest_volume(&points[3..], &reference, 1);
    assert_eq!(chosen, [1]);
    assert!(ranks(&[]).is_empty() && crowding(&[]).is_empty() && front(&[]).is_empty());
}

#[test]
fn zeros_of_both_signs_are_equal() {
    let points = vec![
        vec![0.0, 1.0],
        vec![-0.0, 1.0],
        vec![-0.0, 0.5],
        vec![0.0, 0.5],
    ];
    assert_eq!(ranks(&points), [1, 1, 0, 0]);
}

#[test]
fn many_points_are_ranked_as_one_by_one() {
    let mut rng = crate::seed::Seed::root(3).rng();
    let mut unit = || (rand::Rng::next_u64(&mut rng) >> 11) as f64 / (1_u64 << 53) as f64;
    for d in [2, 3] {
        let points: Vec<Vec<f64>> = (0..300).map(|_| (0..d).map(|_| unit()).collect()).collect();
        let found = ranks(&points);
        // The rank is the length of the longest chain of dominating points.
        for (i, p) in points.iter().enumerate() {
            let above = (0..points.len()).filter(|j| dominates(&points[*j], p));
            let rank = above.map(|j| found[j] + 1).max().unwrap_or(0);
            assert_eq!(found[i], rank);
        }
    }
    // Ten thousand trials in two directions take no noticeable time, whatever front they lie on.
    let line: Vec<Vec<f64>> = (0..10_000)
        .map(|i| vec![f64::from(i), f64::from(-i)])
        .collect();
    assert_eq!(front(&line).len(), 10_000);
    let chain: Vec<Vec<f64>> = (0..10_000)
        .map(|i| vec![f64::from(i), f64::from(i)])
        .collect();
    assert_eq!(ranks(&chain), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn the_front_of_a_study_is_the_best_trials_of_optuna() {
    for (at, split) in Split::all().iter().enumerate() {
        let Some(best) = &split.best else {
            continue;
        };
        let directions = split.directions.clone();
        let mut study = Study::builder("front")
            .directions(directions)
            .open()
            .unwrap();
        for recorded in &split.trials {
            let mut trial = study.ask().unwrap();
            trial.constrain(recorded.constraints.clone()).unwrap();
            let outcome = match recorded.reports {
                Some(_) => Err(Stop::Pruned),
                None => Ok(recorded.values.clone()),
            };
            study.tell_multi(trial, outcome).unwrap();
        }
        let front = study.pareto_front();
        let numbers: Vec<u64> = front.iter().map(|t| t.number).collect();
        if study.directions().len() == 1 {
            // Optuna names one of equal trials.
            assert!(numbers.contains(&best[0]), "case {at}");
            assert_eq!(study.best().unwrap().number, numbers[0], "case {at}");
            assert!(front.iter().all(|t| t.values == front[0].values));
        } else {
            assert_eq!(&numbers, best, "case {at}");
        }
    }
}
