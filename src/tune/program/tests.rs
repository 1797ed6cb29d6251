//! Programs that behave, and every way in which they do not. They are shell scripts, so these tests are for Unix.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use super::*;
use crate::study::declared::Param;
use crate::study::engine::FAIL_REASON;
use crate::study::pruner::threshold::{Threshold, ThresholdParams};
use crate::study::space::Domain;
use crate::study::{Budget, Study, TrialState};

fn space() -> Space {
    let x = Domain::int(0, 999, 1, false).unwrap();
    Space::new(vec![Param::new("x", x)]).unwrap()
}

fn program(command: &[&str], limit: Option<f64>) -> Program {
    let command: Vec<String> = command.iter().map(|w| (*w).to_owned()).collect();
    let limits = Limits {
        time: limit.map(Duration::from_secs_f64),
        memory: memory::KNOWN.then_some(200 << 20),
    };
    Program::new(&command, &space(), 1, 2, limits, Arc::new(|_| {})).unwrap()
}

/// What each of some trials came to: its value or why it failed.
fn outcomes(program: &Program, trials: u64) -> Vec<Result<f64, String>> {
    let mut study = Study::builder("s").space(space()).open().unwrap();
    let budget = Budget::trials(trials);
    study.optimize(budget, |trial| program.run(trial)).unwrap();
    let outcome = |t: &Arc<crate::study::TrialRecord>| match t.state {
        TrialState::Complete => Ok(t.values[0]),
        _ => Err(t.system_attrs[FAIL_REASON].as_str().unwrap().to_owned()),
    };
    study.trials().iter().map(outcome).collect()
}

fn lives(process: &Path) -> bool {
    let number = std::fs::read_to_string(process).unwrap();
    let asked = Command::new("kill").args(["-0", number.trim()]).output();
    asked.unwrap().status.success()
}

/// An orphan that was killed is there until it is reaped, which is not our doing.
fn ends(process: &Path) {
    let until = Instant::now() + Duration::from_secs(5);
    while lives(process) {
        assert!(Instant::now() < until, "it lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_process_answers_all_trials() {
    let script = "n=0; while read -r line; do n=$((n + 1)); echo \"{\\\"value\\\": $n}\"; done";
    let answers = outcomes(&program(&["sh", "-c", script], None), 4);
    assert_eq!(answers, [Ok(1.0), Ok(2.0), Ok(3.0), Ok(4.0)]);
}

#[test]
fn a_program_that_ends_well_after_each_answer_is_started_again() {
    let once = "read -r line; echo '{\"value\": 3}'";
    let answers = outcomes(&program(&["sh", "-c", once], None), 6);
    assert_eq!(answers, vec![Ok(3.0); 6]);
}

#[test]
fn every_misbehaviour_is_one_failed_trial() {
    let script = "while read -r line; do
        case $line in
            *'\"trial\":0,'*) echo 'no such file' >&2; exit 3 ;;
            *'\"trial\":1,'*) kill -KILL $$ ;;
            *'\"trial\":2,'*) sleep 1000 ;;
            *'\"trial\":3,'*) echo 'epoch 1 of 10' ;;
            *'\"trial\":4,'*) echo '{\"value\": NaN}' ;;
            *'\"trial\":5,'*) echo '{\"fail\": \"diverged\"}' ;;
            *'\"trial\":6,'*) echo '{\"values\": [1, 2]}' ;;
            *'\"trial\":7,'*) exec >&-; sleep 1000 ;;
            *'\"trial\":8,'*) exit 0 ;;
            *'\"trial\":9,'*) echo '{\"report\": {\"step\": 1, \"value\": 1}}'; read -r verdict; echo 1 >&2; exit 0 ;;
            *'\"trial\":10,'*) while :; do echo '{\"report\": {\"step\": 1, \"value\": 1}}'; done ;;
            *) echo '{\"value\": 7}' ;;
        esac
    done";
    let answers = outcomes(&program(&["sh", "-c", script], Some(1.5)), 12);
    let why = |n: usize| answers[n].as_ref().unwrap_err().as_str();
    assert_eq!(
        why(0),
        "the program ended without an answer (exit status: 3): no such file"
    );
    assert!(why(1).contains("signal: 9"), "{}", why(1));
    assert_eq!(why(2), "no answer within 1.5 s; the program was ended");
    assert!(
        why(3).starts_with("the program printed `epoch 1 of 10`"),
        "{}",
        why(3)
    );
    assert_eq!(why(4), "the objective returned NaN");
    assert_eq!(why(5), "diverged");
    assert!(why(6).contains("2 values"), "{}", why(6));
    assert!(why(7).contains("it closed its stdout"), "{}", why(7));
    assert!(why(8).contains("exit status: 0"), "{}", why(8));
    assert!(why(9).ends_with("(exit status: 0): 1"), "{}", why(9));
    assert_eq!(why(10), why(2));
    assert_eq!(answers[11], Ok(7.0));
}

/// Says how the trial ended after `prune`, which the second report always brings.
fn pruned(after: &str, trials: u64) -> Vec<TrialState> {
    let script = format!(
        "while read -r line; do
            for step in 1 2 3; do
                echo '{{\"report\": {{\"step\": '$step', \"value\": 9}}}}'
                read -r verdict
                case $verdict in *true*) {after} ;; esac
            done
        done"
    );
    let program = program(&["sh", "-c", &script], None);
    let upper = ThresholdParams {
        upper: Some(5.0),
        n_warmup_steps: 2,
        ..ThresholdParams::default()
    };
    let builder = Study::builder("s").space(space());
    let builder = builder.pruner(Threshold::new(upper).unwrap());
    let mut study = builder.open().unwrap();
    study
        .optimize(Budget::trials(trials), |trial| program.run(trial))
        .unwrap();
    let steps = |t: &Arc<crate::study::TrialRecord>| t.intermediate.len() == 2;
    assert!(study.trials().iter().all(steps));
    study.trials().iter().map(|t| t.state).collect()
}

#[test]
fn a_pruned_trial_is_pruned_however_the_program_ends_it() {
    for end in [
        "echo '{\"pruned\": true}'; break",
        "echo '{\"value\": 3}'; break",
        "echo '{\"fail\": \"pruned\"}'; break",
        "exit 0",
        "exit 1",
    ] {
        assert_eq!(pruned(end, 3), [TrialState::Pruned; 3], "{end}");
    }
    // It waits for the next trial at once, or goes on as if nothing had been said.
    for end in ["break", "sleep 1000"] {
        assert_eq!(pruned(end, 1), [TrialState::Pruned], "{end}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_that_holds_too_much_is_ended() {
    // What `tail` keeps of a stream without line ends is all of it.
    let hoard = "head -c 400000000 /dev/zero | tail -n 1 | sleep 1000";
    let speaks = format!("while read -r line; do {hoard}; done");
    let prints = format!("{hoard}; echo {{x}}");
    for script in [&speaks, &prints] {
        let began = Instant::now();
        let answers = outcomes(&program(&["sh", "-c", script], Some(30.0)), 1);
        let why = answers[0].as_ref().unwrap_err();
        assert!(
            why.starts_with("it held more than the limit of 209.7"),
            "{why}"
        );
        assert!(began.elapsed().as_secs() < 20);
    }
}

#[test]
fn a_program_may_prune_itself() {
    let script = "while read -r line; do echo '{\"pruned\": true}'; done";
    let program = program(&["sh", "-c", script], None);
    let mut study = Study::builder("s").space(space()).open().unwrap();
    let budget = Budget::trials(2);
    study.optimize(budget, |trial| program.run(trial)).unwrap();
    assert_eq!(study.progress().pruned, 2);
}

#[test]
fn what_a_program_started_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let begin = format!("sleep 1000 & echo $! > '{}'", file.display());
    // Past the limit.
    let script = format!("{begin}; wait");
    let answers = outcomes(&program(&["sh", "-c", &script], Some(0.5)), 1);
    assert!(answers[0].is_err());
    ends(&file);
    // A command of one trial that ends while what it started holds its stdout.
    let script = format!("{begin}; echo {{x}} 4.5");
    assert_eq!(
        outcomes(&program(&["sh", "-c", &script], None), 1),
        [Ok(4.5)]
    );
    ends(&file);
    // When nobody needs the program any more.
    let script = format!("{begin}; cat > /dev/null; sleep 1000");
    let unused = program(&["sh", "-c", &script], None);
    while std::fs::read_to_string(&file).map_or(0, |t| t.len()) < 2 || !lives(&file) {
        std::thread::sleep(Duration::from_millis(5));
    }
    unused.leash().pull();
    assert!(outcomes(&unused, 1)[0].is_err());
    drop(unused);
    ends(&file);
}

#[test]
fn workers_are_left_to_end_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bye");
    let script = format!(
        "while read -r line; do echo '{{\"value\": 1}}'; done; echo $AUTOML_WORKER > '{}'",
        file.display()
    );
    let program = program(&["sh", "-c", &script], None);
    assert_eq!(outcomes(&program, 1), [Ok(1.0)]);
    program.finish();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "0\n");
}

#[test]
fn commands_of_one_trial_give_the_last_number_they_print() {
    let of = |script: &str| outcomes(&program(&["sh", "-c", script], Some(5.0)), 1).remove(0);
    assert_eq!(of("echo x={x}; echo loss: 0.25, done"), Ok(0.25));
    assert_eq!(of("yes {x} | head -n 20000; echo 5"), Ok(5.0));
    let silent = of(": {x}").unwrap_err();
    assert!(silent.contains("printed no number"), "{silent}");
    let failed = of("echo 1; echo {x} is wrong >&2; exit 1").unwrap_err();
    assert!(
        failed.contains("(exit status: 1)") && failed.ends_with("is wrong"),
        "{failed}"
    );
    assert_eq!(
        of("echo {x} nan").unwrap_err(),
        "the objective returned NaN"
    );
}

#[test]
fn a_program_that_cannot_start_is_known_before_the_first_trial() {
    let new = |command: &[&str]| {
        let command: Vec<String> = command.iter().map(|w| (*w).to_owned()).collect();
        let made = Program::new(
            &command,
            &space(),
            1,
            1,
            Limits::default(),
            Arc::new(|_| {}),
        );
        made.err().map(|e| e.to_string())
    };
    assert!(
        new(&["no-such-program"])
            .unwrap()
            .contains("cannot start `no-such-program`")
    );
    assert!(
        new(&["no-such-program", "{x}"])
            .unwrap()
            .contains("there is no such program")
    );
    assert!(new(&["./no/such", "{x}"]).is_some());
    assert!(new(&[]).unwrap().contains("after `--`"));
    assert_eq!(new(&["true", "{x}"]), None);
}
