//! A PostgreSQL server that goes away in the middle, connections that are cut, and transactions in each other's way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use automl::db::{Db, DbError};
use automl::study::storage::{Storage, StorageError};
use rustix::process::Signal;

use crate::postgres::{complete, open, study};
use crate::postgres_server::{Server, shared};

/// Writers on a server that is restarted in order and by force: what was reported written is there, once.
#[test]
fn a_server_that_restarts_loses_and_doubles_nothing() {
    let Some(server) = Server::start() else {
        return;
    };
    let url = server.new_url();
    open(&url).create_study(&study("s")).unwrap();
    let stop = AtomicBool::new(false);
    let (written, unknown) = (Mutex::new(Vec::new()), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (url, stop, written, unknown) = (&url, &stop, &written, &unknown);
            scope.spawn(move || {
                let storage = open(url);
                let (mut number, mut turn) = (0, 0);
                while !stop.load(Ordering::SeqCst) {
                    let value = f64::from(thread * 1_000_000 + turn);
                    match storage.write_trial("s", &complete(number, value)) {
                        Ok(()) => {
                            written.lock().unwrap().push((number, value));
                            turn += 1;
                        }
                        Err(StorageError::TrialFinished { .. }) => number += 1,
                        Err(StorageError::NumberGap { next, .. }) => number = next,
                        Err(StorageError::Db(DbError::Unknown { .. })) => {
                            unknown.fetch_add(1, Ordering::SeqCst);
                            let found = storage.load_trials("s").unwrap();
                            if let Some(trial) = found.iter().find(|t| t.values[0] == value) {
                                written.lock().unwrap().push((trial.number, value));
                                turn += 1;
                            }
                        }
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
        let count = || written.lock().unwrap().len();
        for how in [Signal::INT, Signal::QUIT, Signal::QUIT] {
            // Each time the writers must have come back.
            let (before, begun) = (count(), Instant::now());
            while count() < before + 60 {
                assert!(begun.elapsed() < Duration::from_secs(60), "nobody writes");
                std::thread::sleep(Duration::from_millis(5));
            }
            server.stop(how);
            std::thread::sleep(Duration::from_millis(200));
            server.go();
        }
        let (before, begun) = (count(), Instant::now());
        while count() < before + 60 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody writes");
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::SeqCst);
    });
    let found = open(&url).load_trials("s").unwrap();
    let mut written = written.into_inner().unwrap();
    written.sort_by_key(|(number, _)| *number);
    println!(
        "{} trials, {} commits of unknown end",
        found.len(),
        unknown.into_inner()
    );
    assert!(found.len() >= 240);
    let found: Vec<(u64, f64)> = found.iter().map(|t| (t.number, t.values[0])).collect();
    assert_eq!(found, written);
}

#[test]
fn a_server_that_stays_away_is_an_error_and_its_return_is_noticed() {
    let Some(server) = Server::start() else {
        return;
    };
    let url = server.new_url();
    let db = Db::open_url(&url)
        .unwrap()
        .patience(Duration::from_millis(400));
    let count = || db.read(|tx| tx.first("SELECT 1", &[], |row| row.int(0)));
    assert_eq!(count().unwrap(), Some(1));
    server.stop(Signal::INT);
    let begun = Instant::now();
    let error = count().unwrap_err();
    assert!(matches!(error, DbError::Lost { .. }), "{error}");
    assert!(
        error.to_string().contains("nothing was written")
            && !format!("{error:?}").contains("s3cr3t"),
        "{error}"
    );
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert!(begun.elapsed() < Duration::from_secs(10));
    server.go();
    let db = db.patience(Duration::from_secs(30));
    let again = db.read(|tx| tx.first("SELECT 1", &[], |row| row.int(0)));
    assert_eq!(again.unwrap(), Some(1));
}

/// What the proxy does to the next message from the client that holds the word.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Nothing,
    /// The server never gets it.
    Before(&'static str),
    /// The server gets it and answers, the client hears nothing.
    After(&'static str),
}

/// Between client and server, cutting connections when told to.
struct Proxy {
    port: u16,
    cut: Arc<Mutex<Cut>>,
}

impl Proxy {
    fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::new(Mutex::new(Cut::Nothing)),
        };
        let cut = Arc::clone(&proxy.cut);
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                let mute = Arc::new(AtomicBool::new(false));
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (cut, muted) = (Arc::clone(&cut), Arc::clone(&mute));
                std::thread::spawn(move || back(from, to, &muted));
                std::thread::spawn(move || forth(client, server, &cut, &mute));
            }
        });
        proxy
    }

    fn cut(&self, how: Cut) {
        *self.cut.lock().unwrap() = how;
    }
}

fn forth(mut client: TcpStream, mut server: TcpStream, cut: &Mutex<Cut>, mute: &AtomicBool) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let has = |word: &str| {
            buffer[..length]
                .windows(word.len())
                .any(|part| part == word.as_bytes())
        };
        let mut cut = cut.lock().unwrap();
        match *cut {
            Cut::Before(word) if has(word) => {
                *cut = Cut::Nothing;
                break;
            }
            Cut::After(word) if has(word) => {
                *cut = Cut::Nothing;
                mute.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

fn back(mut server: TcpStream, mut client: TcpStream, mute: &AtomicBool) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if mute.load(Ordering::SeqCst) || client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_connection_that_breaks_is_opened_again_but_not_over_a_commit() {
    let Some(server) = shared() else { return };
    let name = server.database();
    server.sql(&name, "CREATE TABLE t (a INTEGER)");
    let proxy = Proxy::to(server.port());
    let db = Db::open_url(&server.url_at(proxy.port, &name)).unwrap();
    let runs = AtomicU32::new(0);
    let insert = |value: i64| {
        db.write(|tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            // A text of its own, so that it is sent and not only named.
            let sql = format!("INSERT INTO t (a) VALUES (?1) -- {value}");
            tx.execute(&sql, &[value.into()])
        })
    };
    let values = || {
        db.read(|tx| tx.rows("SELECT a FROM t ORDER BY a", &[], |row| row.int(0)))
            .unwrap()
    };
    insert(0).unwrap();
    // Anywhere before the commit: it is done again, and nobody need know.
    for (value, how) in [
        (1, Cut::Before("START TRANSACTION")),
        (2, Cut::After("START TRANSACTION")),
        (3, Cut::Before("INSERT INTO")),
        (4, Cut::After("INSERT INTO")),
    ] {
        proxy.cut(how);
        let before = runs.load(Ordering::SeqCst);
        insert(value).unwrap();
        assert!(*proxy.cut.lock().unwrap() == Cut::Nothing, "it was not cut");
        let again = u32::from(value > 2);
        assert_eq!(runs.load(Ordering::SeqCst), before + 1 + again);
        assert_eq!(values(), (0..=value).collect::<Vec<i64>>());
    }
    proxy.cut(Cut::Before("START TRANSACTION"));
    assert_eq!(values(), [0, 1, 2, 3, 4]);
    // During the commit: only the caller can look.
    for (value, how, there) in [
        (5, Cut::After("COMMIT\0"), true),
        (6, Cut::Before("COMMIT\0"), false),
    ] {
        proxy.cut(how);
        let before = runs.load(Ordering::SeqCst);
        let Err(error) = insert(value) else {
            panic!("{value} went through");
        };
        assert!(matches!(error, DbError::Unknown { .. }), "{error}");
        assert!(error.to_string().contains("not known"), "{error}");
        assert_eq!(runs.load(Ordering::SeqCst), before + 1);
        let begun = Instant::now();
        while there && !values().contains(&value) {
            // The server may still be at it.
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", values());
        }
        assert_eq!(values().contains(&value), there);
    }
    insert(7).unwrap();
    assert_eq!(values(), [0, 1, 2, 3, 4, 5, 7]);
}

#[test]
fn transactions_in_each_others_way_are_run_again() {
    let Some(server) = shared() else { return };
    let name = server.database();
    server.sql(
        &name,
        &format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
             INSERT INTO t VALUES (1, 0), (2, 0);
             ALTER DATABASE {name} SET deadlock_timeout = '20ms'"
        ),
    );
    let url = server.url(&name);
    let runs = AtomicU32::new(0);
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for order in [[1_i64, 2], [2, 1]] {
            let (url, runs, barrier) = (&url, &runs, &barrier);
            scope.spawn(move || {
                let db = Db::open_url(url).unwrap();
                for _ in 0..5 {
                    barrier.wait();
                    db.write(|tx| {
                        runs.fetch_add(1, Ordering::SeqCst);
                        for id in order {
                            tx.execute("UPDATE t SET n = n + 1 WHERE id = ?1", &[id.into()])?;
                            std::thread::sleep(Duration::from_millis(10));
                        }
                        Ok::<_, DbError>(())
                    })
                    .unwrap();
                }
            });
        }
    });
    let counts = Db::open_url(&url)
        .unwrap()
        .read(|tx| tx.rows("SELECT n FROM t ORDER BY id", &[], |row| row.int(0)))
        .unwrap();
    assert_eq!(counts, [10, 10]);
    assert!(runs.into_inner() > 10, "there was no deadlock to survive");
}

#[test]
fn an_encrypted_connection_is_one_and_knows_its_server() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let Some(server) = Server::start() else {
        return;
    };
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("authority.pem");
    std::fs::write(&file, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    server.configure("server.crt", &certificate.pem());
    server.configure("server.key", &key.serialize_pem());
    server.configure(
        "pg_hba.conf",
        "host postgres all 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
    );
    server.configure("postgresql.auto.conf", "ssl = on\n");
    server.stop(Signal::INT);
    server.go();
    let name = server.database();
    let url = format!("{}?sslmode=require", server.url(&name));
    let known = format!("{url}&sslrootcert={}", file.display());
    let encrypted = |url: &str| {
        Db::open_url(url)?.read(|tx| {
            tx.first(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
                &[],
                |row| row.int(0),
            )
        })
    };
    assert_eq!(encrypted(&known).unwrap(), Some(1));
    let plain = format!("{}?sslmode=disable", server.url("postgres"));
    assert_eq!(encrypted(&plain).unwrap(), Some(0));
    for (url, part) in [
        (url.clone(), "UnknownIssuer"),
        (
            known.replace("127.0.0.1", "localhost"),
            "not valid for name",
        ),
    ] {
        let error = encrypted(&url).unwrap_err();
        assert!(matches!(error, DbError::Encryption { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("sslrootcert"), "{error}");
    }
    let error = encrypted(&server.url(&name)).unwrap_err().to_string();
    assert!(error.contains("no encryption"), "{error}");
}

#[test]
fn a_full_server_is_waited_for() {
    let Some(server) = shared() else { return };
    let name = server.database();
    server.sql(
        &name,
        &format!(
            "CREATE ROLE lonely LOGIN PASSWORD 'x' CONNECTION LIMIT 1; GRANT CONNECT ON DATABASE {name} TO lonely"
        ),
    );
    let url = format!("postgres://lonely:x@127.0.0.1:{}/{name}", server.port());
    let first = Db::open_url(&url).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Db::open_url(&url).map(|_| ()));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap().unwrap();
    });
}
