use std::sync::Arc;

use super::*;
use crate::study::pareto::{hypervolume, tests::Split};
use crate::study::record::Direction;
use crate::study::sampler::{by_name, conformance};
use crate::study::{Budget, Study};
use serde_json::json;

#[test]
fn keeps_the_contract() {
    conformance::run(|| Box::new(Nsga2::default()));
    for crossover in ["uniform", "sbx", "blx_alpha"] {
        let params = json!({"population_size": 5, "crossover": crossover});
        conformance::run(|| by_name("nsga2", &params).unwrap());
    }
}

#[test]
fn parents_are_those_that_optuna_keeps() {
    let mut compared = 0;
    for (at, split) in Split::all().iter().enumerate() {
        let Some(elite) = &split.elite else { continue };
        let pool = split.trials().into_iter().map(Arc::new).collect();
        let parents = lineage::select(pool, &split.directions, 20);
        let mut ours: Vec<usize> = parents.iter().map(|p| p.trial.number as usize).collect();
        ours.sort_unstable();
        assert_eq!(&ours, elite, "case {at}");
        compared += 1;
    }
    assert!(compared >= 5);
}

#[test]
fn generations_get_better_in_one_direction_and_in_two() {
    let params = json!({"population_size": 20, "mutation_prob": 0.1, "crossover": "sbx"});
    let nsga2 = by_name("nsga2", &params).unwrap();
    let mut one = Study::builder("one").sampler(nsga2).open().unwrap();
    one.optimize(Budget::trials(200), |trial| {
        let x = trial.float("x", -5.0..=5.0).uniform()?;
        let y = trial.float("y", -5.0..=5.0).uniform()?;
        Ok((x - 1.0) * (x - 1.0) + (y + 2.0) * (y + 2.0))
    })
    .unwrap();
    let median = |from: usize| {
        let values = one.trials()[from..from + 20].iter().map(|t| t.values[0]);
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        values[10]
    };
    assert!(
        median(180) < 0.2 * median(0),
        "{} {}",
        median(180),
        median(0)
    );

    let volume = |sampler: &str| {
        let sampler = by_name(sampler, &json!(null)).unwrap();
        let directions = [Direction::Minimize, Direction::Maximize];
        let two = Study::builder("two")
            .sampler(sampler)
            .directions(directions);
        let mut two = two.open().unwrap();
        two.optimize(Budget::trials(400), |trial| {
            let x: Vec<f64> = (0..4)
                .map(|i| trial.float(&format!("x{i}"), 0.0..=1.0).uniform())
                .collect::<Result<_, _>>()?;
            let g = 1.0 + 3.0 * (x[1] + x[2] + x[3]);
            Ok([x[0], -g * (1.0 - (x[0] / g).sqrt())])
        })
        .unwrap();
        let front = two.pareto_front();
        let losses: Vec<Vec<f64>> = front.iter().map(|t| t.losses(&directions)).collect();
        hypervolume(&losses, &[1.0, 10.0])
    };
    assert!(volume("nsga2") > volume("random") + 0.5);
}

#[test]
fn a_child_has_the_parameters_of_its_parents() {
    let sampler = by_name(
        "nsga2",
        &json!({"population_size": 4, "mutation_prob": 0.0}),
    )
    .unwrap();
    let mut study = Study::builder("kinds")
        .sampler(sampler)
        .seed(2)
        .open()
        .unwrap();
    study
        .optimize(Budget::trials(40), |trial| {
            let kind = trial.categorical("kind", ["a", "b"])?;
            let own = trial.float(kind, 0.0..=1.0).uniform()?;
            Ok(own + f64::from(u8::from(kind == "b")))
        })
        .unwrap();
    let values = |name: &str, trials: &[Arc<crate::study::TrialRecord>]| -> Vec<f64> {
        let drawn = trials.iter().filter_map(|t| t.params.assignment(name));
        drawn.map(|a| a.internal).collect()
    };
    // Without mutation nothing is new after the first generation, unless no parent had it.
    let first = values("a", &study.trials()[..4]);
    assert!(!first.is_empty(), "choose another seed");
    let later = values("a", &study.trials()[4..]);
    assert!(later.len() > 20 && later.iter().all(|v| first.contains(v)));
}

#[test]
fn the_cost_of_a_trial_does_not_grow_with_the_study() {
    let sampler = Nsga2::default();
    let mut study = Study::builder("long").open().unwrap();
    study
        .optimize(Budget::trials(5000), |trial| {
            trial.float("x", 0.0..=1.0).uniform().map_err(Into::into)
        })
        .unwrap();
    let context = |n: usize| Context {
        trial: n as u64,
        history: &study.trials()[..n],
        pending: &[],
        directions: study.directions(),
        seed: crate::seed::Seed::root(1),
        study_seed: crate::seed::Seed::root(0),
    };
    // What is remembered gives what a sampler without a memory finds.
    for n in [0, 49, 50, 51, 2499, 2500, 5000, 130] {
        let fresh = Nsga2::default();
        assert_eq!(
            sampler.propose(&context(n)),
            fresh.propose(&context(n)),
            "{n}"
        );
    }
    assert_eq!(
        sampler.explain(&context(130)).as_deref(),
        Some("generation 2: a child of the best trials so far")
    );
}

#[test]
fn wrong_parameters_are_named() {
    for (params, part) in [
        (
            json!({"population_size": 1}),
            "`population_size` must be at least 2",
        ),
        (
            json!({"swapping_prob": 1.5}),
            "`swapping_prob` must be from 0 to 1",
        ),
        (
            json!({"mutation_prob": -0.1}),
            "`mutation_prob` must be from 0 to 1",
        ),
        (json!({"crossover": "spx"}), "`blx_alpha`"),
    ] {
        let Err(error) = by_name("nsga2", &params) else {
            panic!("{params} is wrong")
        };
        assert!(error.to_string().contains(part), "{error}");
    }
}
