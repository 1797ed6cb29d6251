//! What it costs to claim and complete trials when many workers share one study.
//!
//! Each of WORKERS is a `Study` of its own, as in a process of its own: it learns what the others did, claims the next trial
//! under a lease, waits for about SECONDS, and completes it. CONNECTIONS threads take turns for them, each with its own
//! connection to STORE: a folder, or a URL of PostgreSQL (feature `postgres`).
//!
//! ```sh
//! WORKERS=1000 TRIALS=3000 STORE=postgres://… cargo run --release --features postgres --example claims
//! ```
//!
//! Several processes with the same NAME, STORE and CONCURRENCY share one study.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use automl::db::DbError;
use automl::seed::Seed;
use automl::study::declared::{Param, Space};
use automl::study::engine::Share;
use automl::study::sampler::random::Random;
use automl::study::space::Domain;
use automl::study::storage::Storage;
use automl::study::{Study, StudyError, Trial};
use automl::tracking::Store;
use rand::RngExt as _;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Settings {
    store: String,
    name: String,
    workers: usize,
    concurrency: usize,
    trials: u64,
    connections: usize,
    seconds: f64,
}

/// One worker: it runs a trial, or looks again when it is its turn.
struct Worker {
    study: Study,
    trial: Option<Trial>,
    pause: Duration,
}

/// What the calls of one thread took, in seconds.
#[derive(Default)]
struct Costs {
    claims: Vec<f64>,
    completions: Vec<f64>,
    looks: Vec<f64>,
}

fn main() -> Done<()> {
    let number = |name: &str, otherwise: f64| -> Done<f64> {
        Ok(std::env::var(name).map_or(Ok(otherwise), |text| text.parse())?)
    };
    let folder = std::env::temp_dir().join(format!("automl-claims-{}", std::process::id()));
    let given = std::env::var("STORE").ok();
    let settings = Settings {
        store: given
            .clone()
            .unwrap_or_else(|| folder.display().to_string()),
        name: std::env::var("NAME").unwrap_or_else(|_| format!("claims-{}", std::process::id())),
        workers: number("WORKERS", 50.0)? as usize,
        concurrency: number("CONCURRENCY", number("WORKERS", 50.0)?)? as usize,
        trials: number("TRIALS", 500.0)? as u64,
        connections: number("CONNECTIONS", 16.0)? as usize,
        seconds: number("SECONDS", 0.1)?,
    };
    let before = stored_bytes(&settings)?;
    let begun = Instant::now();
    let costs: Vec<Done<Costs>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..settings.connections)
            .map(|thread| {
                let settings = &settings;
                scope.spawn(move || run(settings, thread))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .map(|done| done.unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    });
    let took = begun.elapsed().as_secs_f64();
    let costs = costs.into_iter().collect::<Done<Vec<Costs>>>()?;
    let trials = Store::open(&settings.store)?
        .storage()
        .load_trials(&settings.name)?;
    let complete = trials.iter().filter(|t| t.value().is_some()).count();
    println!(
        "{} workers, {} connections, trials of about {} s: {complete} trials in {took:.1} s = {:.0} per second",
        settings.workers,
        settings.connections,
        settings.seconds,
        complete as f64 / took
    );
    let all = |what: fn(&Costs) -> &Vec<f64>| costs.iter().flat_map(what).copied().collect();
    print("claim", all(|c| &c.claims));
    print("complete", all(|c| &c.completions));
    print("look without a claim", all(|c| &c.looks));
    let bytes = (stored_bytes(&settings)? - before).max(0) as f64 / complete.max(1) as f64;
    println!("{bytes:.0} bytes per trial");
    if given.is_none() {
        std::fs::remove_dir_all(folder)?;
    }
    // The other processes of a study may have some to finish.
    if (complete as u64) < settings.trials && std::env::var_os("NAME").is_none() {
        return Err("not every trial is complete".into());
    }
    Ok(())
}

fn print(what: &str, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| {
        seconds.get(((seconds.len() as f64 * share) as usize).min(seconds.len().saturating_sub(1)))
    };
    let ms = |share| at(share).map_or(0.0, |s| s * 1e3);
    println!(
        "{what}: {} calls, median {:.2} ms, 95 % below {:.2} ms, most {:.2} ms",
        seconds.len(),
        ms(0.5),
        ms(0.95),
        ms(1.0)
    );
}

fn open(settings: &Settings, storage: &Arc<dyn Storage>, worker: usize) -> Done<Study> {
    let float = |name: &str| -> Done<Param> {
        Ok(Param::new(name, Domain::float(-5.0, 5.0, None, false)?))
    };
    let params = ["a", "b", "c", "d", "e"].into_iter().map(float);
    let space = Space::new(params.collect::<Done<Vec<Param>>>()?)?;
    let share = Share {
        poll: Duration::from_millis(250),
        patience: Duration::from_secs(60),
        // Nothing renews leases here, since nothing runs.
        lease: Duration::from_secs(3600),
        ..Share::new(format!("{}-{worker}", std::process::id()))
    };
    Ok(Study::builder(&settings.name)
        .sampler(Random)
        .seed(1)
        .concurrency(settings.concurrency)
        .space(space)
        .storage(Arc::clone(storage))
        .share(share)
        .open()?)
}

/// Takes turns for every CONNECTIONS-th worker.
fn run(settings: &Settings, thread: usize) -> Done<Costs> {
    let storage: Arc<dyn Storage> = Store::open(&settings.store)?.storage();
    let mut costs = Costs::default();
    let mut rng = Seed::root(7).child("thread", thread as u64).rng();
    let mut workers = Vec::new();
    let mut turns = BinaryHeap::new();
    let begun = Instant::now();
    for worker in (thread..settings.workers).step_by(settings.connections) {
        turns.push(Reverse((begun, workers.len())));
        workers.push(Worker {
            study: open(settings, &storage, worker)?,
            trial: None,
            pause: Duration::from_millis(1),
        });
    }
    while let Some(Reverse((due, at))) = turns.pop() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let worker = &mut workers[at];
        if let Some(trial) = worker.trial.take() {
            let value = trial.number() as f64;
            let from = Instant::now();
            worker.study.tell(trial, Ok(value))?;
            costs.completions.push(from.elapsed().as_secs_f64());
        }
        // Workers of a pool of processes leave at the last trial; here nobody takes over.
        if worker.study.trials().len() as u64 >= settings.trials {
            continue;
        }
        let from = Instant::now();
        let again = match worker.study.ask() {
            Ok(trial) if trial.number() >= settings.trials => {
                worker.study.tell(trial, Err(automl::study::Stop::Pruned))?;
                continue;
            }
            Ok(trial) => {
                costs.claims.push(from.elapsed().as_secs_f64());
                worker.trial = Some(trial);
                worker.pause = Duration::from_millis(1);
                Duration::from_secs_f64(settings.seconds * rng.random_range(0.5..1.5))
            }
            Err(StudyError::Window { .. }) => {
                worker.study.catch_up()?;
                costs.looks.push(from.elapsed().as_secs_f64());
                worker.pause = (worker.pause * 2).min(Duration::from_millis(250));
                worker.pause
            }
            Err(other) => return Err(other.into()),
        };
        turns.push(Reverse((Instant::now() + again, at)));
    }
    Ok(costs)
}

/// What the database holds, in bytes.
fn stored_bytes(settings: &Settings) -> Done<i64> {
    let store = Store::open(&settings.store)?;
    let sql = match settings.store.starts_with("postgres") {
        true => "SELECT pg_database_size(current_database())",
        false => "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    };
    let size = store
        .db()
        .read(|tx| tx.first::<_, DbError>(sql, &[], |row| row.int(0)))?;
    Ok(size.unwrap_or(0))
}
