use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::evolution::{Evolution, identity};
use super::margin::Margin;
use super::restart::{Schedule, Watch};
use super::space::{Cell, Space};
use super::{CmaEs, CmaEsParams, Restart, Turns, start};
use crate::seed::Seed;
use crate::study::record::{Direction, TrialRecord, TrialState};
use crate::study::sampler::{by_name, random};
use crate::study::space::{Assignment, Domain, Params, Value};
use crate::study::{Budget, Stop, Study, Trial};

fn golden() -> Json {
    serde_json::from_str(include_str!("../../../../tests/golden/cmaes.json")).expect("JSON")
}

fn numbers(v: &Json) -> Vec<f64> {
    let all = v.as_array().expect("a list").iter();
    all.map(|x| x.as_f64().expect("a number")).collect()
}

fn rows(v: &Json) -> Vec<Vec<f64>> {
    v.as_array().expect("a list").iter().map(numbers).collect()
}

/// 1e-10: sums run in another order, and twenty updates multiply what that changes.
fn assert_close(what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!(
            (a - b).abs() <= 1e-10 * b.abs().max(1.0),
            "{what}: {a} is not {b}"
        );
    }
}

fn assert_state(what: &str, ours: &Evolution, theirs: &Json) {
    assert_close(what, &ours.mean, &numbers(&theirs["mean"]));
    assert_close(
        what,
        &[ours.sigma],
        &[theirs["sigma"].as_f64().expect("a number")],
    );
    assert_close(what, &ours.covariance, &numbers(&theirs["covariance"]));
    assert_close(what, &ours.path_c, &numbers(&theirs["path_c"]));
}

fn unit_space(n: usize) -> Space {
    Space {
        names: (0..n).map(|i| format!("x{i}")).collect(),
        domains: vec![Domain::float(0.0, 1.0, None, false).expect("right"); n],
    }
}

#[test]
fn updates_are_those_of_the_reference() {
    for run in golden()["runs"].as_array().expect("a list") {
        let n = run["n"].as_u64().expect("a number") as usize;
        let population = run["population"].as_u64().expect("a number") as usize;
        let mut evolution = Evolution::new(vec![0.5; n], 0.2, identity(n), population);
        for (i, group) in run["groups"].as_array().expect("a list").iter().enumerate() {
            evolution.update(&rows(&group["ranked"]));
            assert_state(&format!("{n}, update {i}"), &evolution, &group["after"]);
        }
    }
    let usual = |n| CmaEsParams::default().population_of(n);
    assert_eq!([1, 2, 5, 6, 20].map(usual), [4, 6, 8, 9, 12]);
}

#[test]
fn margins_are_those_of_the_reference() {
    let mut space = unit_space(4);
    space.domains[2] = Domain::int(0, 10, 1, false).expect("right");
    space.domains[3] = Domain::int(0, 1, 1, false).expect("right");
    let mut evolution = Evolution::new(vec![0.47; 4], 0.03, identity(4), 8);
    let mut margin = Margin::new(&space, true);
    let mut stretched = false;
    let golden = golden();
    for (i, group) in golden["margin"]["groups"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
    {
        evolution.update(&rows(&group["ranked"]));
        margin.correct(&mut evolution, &space, 1.0 / 32.0);
        assert_state(&format!("update {i}"), &evolution, &group["after"]);
        assert_close(
            "stretch",
            &margin.stretch,
            &numbers(&group["after"]["stretch"]),
        );
        stretched |= margin.stretch[2] > 1.05;
    }
    assert!(stretched, "the margin was too small at least once");
}

#[test]
fn a_warm_start_is_that_of_the_reference() {
    let golden = golden();
    let mut source = rows(&golden["warm"]["source"]);
    source.sort_by(|a, b| a[3].total_cmp(&b[3]));
    let space = unit_space(3);
    let trial = |(number, row): (usize, &Vec<f64>)| {
        let mut trial = TrialRecord::waiting(number as u64);
        trial.state = TrialState::Complete;
        trial.values = vec![-row[3]];
        let params = space.names.iter().zip(&space.domains).zip(row);
        let assign = |((name, domain), x): ((&String, &Domain), &f64)| Assignment {
            name: name.clone(),
            domain: domain.clone(),
            internal: *x,
        };
        trial.params = Params(params.map(assign).collect());
        std::sync::Arc::new(trial)
    };
    let trials: Vec<_> = source.iter().enumerate().map(trial).collect();
    let sampler = CmaEs::warm_started(&trials, Direction::Maximize);
    assert_eq!(sampler.params.warm_start.len(), 8, "the best tenth");
    let warm = start::warm(&space, &sampler.params.warm_start).expect("points");
    assert_close("mean", &warm.mean, &numbers(&golden["warm"]["mean"]));
    assert_close(
        "sigma",
        &[warm.sigma],
        &[golden["warm"]["sigma"].as_f64().expect("a number")],
    );
    assert_close(
        "covariance",
        &warm.covariance,
        &numbers(&golden["warm"]["covariance"]),
    );
    // What the sampler says of itself makes it again.
    let again = by_name("cmaes", &super::Sampler::params(&sampler)).expect("its own parameters");
    assert_eq!(again.params(), super::Sampler::params(&sampler));
}

#[test]
fn a_foreign_point_moves_the_distribution_by_a_bounded_step() {
    let mut evolution = Evolution::new(vec![0.5; 2], 1e-3, identity(2), 6);
    let mut group = vec![vec![0.9, 0.9]];
    group.extend((0..5).map(|i| vec![0.5 + 1e-4 * f64::from(i), 0.5]));
    evolution.update(&group);
    let moved = (evolution.mean[0] - 0.5).hypot(evolution.mean[1] - 0.5);
    let longest = (2.0_f64.sqrt() + 2.0) * 1e-3;
    assert!(moved > 0.5 * longest && moved <= longest, "{moved}");
    assert!(evolution.sigma < 1e-3 * std::f64::consts::E);
}

#[test]
fn cells_cover_their_axis() {
    let mut space = unit_space(3);
    space.domains[0] = Domain::int(1, 9, 1, true).expect("right");
    space.domains[1] = Domain::float(-0.35, 10.0, Some(0.7), false).expect("right");
    space.domains[2] = Domain::int(-7, 7, 7, false).expect("right");
    for i in 0..3 {
        let (mut at, mut values) = (0.0, 0);
        while at < 1.0 - 1e-9 {
            let value = space.axis(i).internal(at + 1e-9);
            let cell = space.cell(i, value);
            assert!(
                (cell.low - at).abs() < 1e-12,
                "{i}: {value} begins at {}",
                cell.low
            );
            assert_eq!(space.axis(i).internal(cell.high - 1e-9), value);
            let open = space.open_cell(i, value);
            assert_eq!(open.low == f64::NEG_INFINITY, values == 0);
            at = cell.high;
            values += 1;
            assert_eq!(open.high == f64::INFINITY, at >= 1.0 - 1e-9);
        }
        assert_eq!(values, [9, 15, 3][i]);
    }
}

#[test]
fn points_are_drawn_again_within_their_cells() {
    let mut space = unit_space(2);
    space.domains[1] = Domain::int(0, 9, 1, false).expect("right");
    // The second coordinate follows the first.
    let covariance = vec![1.0, 0.9, 0.9, 1.0];
    let evolution = Evolution::new(vec![0.5, 0.55], 0.05, covariance, 6);
    let margin = Margin::new(&space, true);
    let mean_of = |first: f64| {
        let mut rng = Seed::root(1).rng();
        let mut sum = 0.0;
        for _ in 0..400 {
            let point = margin.point(&evolution, &space, &[first, 5.0], &mut rng);
            assert_eq!(point[0], first);
            let Cell { low, high } = space.cell(1, 5.0);
            assert!(low <= point[1] && point[1] <= high, "{}", point[1]);
            sum += point[1];
        }
        sum / 400.0
    };
    assert!(mean_of(0.58) > 0.57 && mean_of(0.42) < 0.53);
}

#[test]
fn the_population_grows_from_run_to_run() {
    let seed = Seed::root(3);
    let mut ipop = Schedule::new(Restart::Ipop, 6);
    let populations = [0; 4].map(|_| ipop.next(100, 2, seed).population);
    assert_eq!(populations, [12, 24, 48, 96]);
    let mut bipop = Schedule::new(Restart::Bipop, 6);
    let mut small = 0;
    for _ in 0..12 {
        let next = bipop.next(100, 2, seed);
        assert!(next.mean.iter().all(|m| (0.0..1.0).contains(m)));
        small += usize::from(next.shrink < 1.0);
    }
    assert!((5..=6).contains(&small), "{small} of twelve");
    assert!(!Schedule::new(Restart::None, 6).ends());
}

#[test]
fn a_run_stops_when_it_finds_nothing_more() {
    let evolution = || Evolution::new(vec![0.5; 2], 0.2, identity(2), 6);
    // Equal values, for as many groups as the tutorial wants.
    let mut watch = Watch::new(&evolution());
    let stops: Vec<bool> = (0..20)
        .map(|_| watch.stops(&evolution(), &[1.0; 6]))
        .collect();
    assert_eq!(stops.iter().position(|s| *s), Some(19));
    // Noise that does not get better.
    let mut watch = Watch::new(&evolution());
    let noise = |g: u64| random::unit(&mut Seed::root(4).child("noise", g).rng());
    let stops = (0..400).position(|g| watch.stops(&evolution(), &[noise(g), 2.0, 3.0]));
    assert!(stops.is_some());
    // Ever better ones.
    let mut watch = Watch::new(&evolution());
    let better = |g: i32| [-f64::from(g), 1.0 - f64::from(g), 2.0 - f64::from(g)];
    assert!((0..400).all(|g| !watch.stops(&evolution(), &better(g))));
    // A distribution that is narrower than numbers are.
    let mut narrow = evolution();
    narrow.sigma = 1e-18;
    assert!(Watch::new(&evolution()).stops(&narrow, &[1.0, 2.0, 3.0]));
}

#[test]
fn turns_are_counted() {
    let turns = Turns { from: 10, every: 2 };
    let places: Vec<Option<u64>> = (8..14).map(|n| turns.place(n)).collect();
    let want = [None, None, Some(0), None, Some(1), None];
    assert_eq!(places, want);
    assert_eq!(Turns::default().place(7), Some(7));
}

fn floats(trial: &mut Trial, low: f64, high: f64) -> Result<Vec<f64>, Stop> {
    let shifts = [0.2, -0.12, 0.06, -0.2, 0.15].map(|s| s * (high - low));
    let names = ["a", "b", "c", "d", "e"].iter().zip(shifts);
    names
        .map(|(name, shift)| Ok(trial.float(name, low..=high).uniform()? - shift))
        .collect()
}

fn best(
    params: CmaEsParams,
    seed: u64,
    trials: u64,
    objective: impl Fn(&mut Trial) -> Result<f64, Stop> + Sync,
) -> f64 {
    let sampler = CmaEs::new(params).expect("right");
    let study = Study::builder("s").seed(seed).sampler(sampler);
    let mut study = study.direction(Direction::Maximize).open().expect("opens");
    let turned = |trial: &mut Trial| objective(trial).map(|v| -v);
    study
        .optimize(Budget::trials(trials), turned)
        .expect("runs");
    -study.best().expect("complete trials").values[0]
}

#[test]
fn a_shifted_sphere_is_solved_to_eight_digits_in_700_trials() {
    for seed in 0..5 {
        let found = best(CmaEsParams::default(), seed, 700, |trial| {
            Ok(floats(trial, -5.0, 5.0)?.iter().map(|x| x * x).sum())
        });
        assert!(found < 1e-8, "seed {seed}: {found}");
    }
}

#[test]
fn a_shifted_rosenbrock_is_solved() {
    let mut found: Vec<f64> = (0..5)
        .map(|seed| {
            best(CmaEsParams::default(), seed, 2500, |trial| {
                let x = floats(trial, -5.0, 10.0)?;
                let bend = |w: &[f64]| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2);
                Ok(x.windows(2).map(bend).sum())
            })
        })
        .collect();
    found.sort_by(f64::total_cmp);
    // It has a second optimum, of 3.93.
    assert!(found[3] < 1e-8, "{found:?}");
}

/// The floats, which matter most, make the distribution narrow before the bits are right: rounding alone then never
/// flips one again.
#[test]
fn whole_numbers_do_not_get_stuck() {
    let solved = |with_margin| {
        let run = |seed| {
            let params = CmaEsParams {
                with_margin: Some(with_margin),
                restart: Restart::None,
                ..CmaEsParams::default()
            };
            best(params, seed, 600, |trial| {
                let mut value = 0.0;
                for (name, goal) in [("x", 0.3), ("y", 0.8), ("z", 0.45)] {
                    value += 1e4 * (trial.float(name, 0.0..=1.0).uniform()? - goal).powi(2);
                }
                for i in 0..6 {
                    let bit = trial.int(&format!("bit{i}"), 0..=1).uniform()?;
                    value += f64::from(u8::from(bit != i % 2));
                }
                Ok(value)
            })
        };
        (0..10).filter(|seed| run(*seed) < 0.9).count()
    };
    let (with, without) = (solved(true), solved(false));
    assert!(
        with >= 8 && without <= 2,
        "{with} with a margin, {without} without"
    );
}

#[test]
fn enqueued_points_are_learned_from() {
    let study = Study::builder("s").seed(1).sampler(CmaEs::default());
    let mut study = study.open().expect("opens");
    let objective = |trial: &mut Trial| -> Result<f64, Stop> {
        Ok(floats(trial, -5.0, 5.0)?.iter().map(|x| x * x).sum())
    };
    study.optimize(Budget::trials(8), objective).expect("runs");
    // What all others are far from.
    for i in 0..4 {
        let point = ["a", "b", "c", "d", "e"]
            .map(|n| (n.to_owned(), Value::Float(4.9 - 0.01 * f64::from(i))));
        study.enqueue(BTreeMap::from(point)).expect("waits");
    }
    study.optimize(Budget::trials(60), objective).expect("runs");
    assert!(
        study.trials()[8..12]
            .iter()
            .all(|t| t.params.0[0].internal > 4.8)
    );
    assert!(study.best().expect("complete").values[0] < 5.0);
}

#[test]
fn errors_name_the_key_and_what_is_allowed() {
    let error = |params: Json| match by_name("cmaes", &params) {
        Ok(_) => panic!("{params} is wrong"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        error(json!({"population": 1})),
        "`cmaes`: `population` must be from 2 to 100000, not 1"
    );
    assert_eq!(
        error(json!({"sigma": 1.5})),
        "`cmaes`: `sigma` must be a number above 0 and at most 1, not 1.5"
    );
    let restart = error(json!({"sigma": 0.2, "restart": "often"}));
    assert!(
        restart.contains("`restart`") && restart.contains("`bipop`"),
        "{restart}"
    );
    assert!(error(json!({"sigma": "wide"})).contains("`sigma`"));
    assert!(error(json!({"popsize": 3})).contains("`population`"));
}

#[test]
fn a_start_is_where_the_first_trials_are() {
    let start = BTreeMap::from([("x".to_owned(), 1e-3.into()), ("n".to_owned(), 40.into())]);
    let params = CmaEsParams {
        start,
        sigma: 0.02,
        ..CmaEsParams::default()
    };
    let study = Study::builder("s").sampler(CmaEs::new(params).expect("right"));
    let mut study = study.open().expect("opens");
    let objective = |trial: &mut Trial| -> Result<f64, Stop> {
        let x = trial.float("x", 1e-6..=1.0).log()?;
        let n = trial.int("n", 0..=100).uniform()?;
        Ok(x + n as f64)
    };
    study.optimize(Budget::trials(6), objective).expect("runs");
    for trial in study.trials() {
        let (x, n) = (trial.params.0[0].internal, trial.params.0[1].internal);
        assert!(
            (2e-4..5e-3).contains(&x) && (30.0..50.0).contains(&n),
            "{x}, {n}"
        );
    }
}
