//! One study in several processes on PostgreSQL, whose server goes away and comes back.

use std::process::Child;

use rustix::process::Signal;

use crate::postgres_server::Server;
use crate::workers::{alone, desk, ended, history, lead, wait_for, worker};

#[test]
fn killed_workers_and_a_restarted_server_change_no_trial() {
    let Some(server) = Server::start() else {
        return;
    };
    let desk = desk();
    let store = server.new_url();
    let trials = "80";
    let leader = lead(&desk, &store, trials, &["--artifacts", "led"])
        .spawn()
        .unwrap();
    // Four machines, as far as folders can tell: nothing but the database is shared.
    let start = |n: usize| -> Child {
        let files = format!("files-{n}");
        worker(&desk, &store, &["--artifacts", &files])
            .spawn()
            .unwrap()
    };
    let mut workers: Vec<Child> = (0..4).map(start).collect();
    wait_for(&desk, &store, 12);
    for mut killed in workers.drain(..2) {
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    wait_for(&desk, &store, 30);
    // Connections are cut in the middle of whatever they do.
    server.stop(Signal::INT);
    server.go();
    ended(leader);
    workers.into_iter().for_each(|worker| drop(ended(worker)));
    assert_eq!(history(&desk, &store), alone(&desk, trials));
}
