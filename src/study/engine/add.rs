//! Trials of another study as the beginning of this one: how history is edited.
//!
//! Finished trials never change, so a study without a bad trial, or over a larger space, is another study that begins
//! with the trials worth keeping.

use serde_json::json;

use super::{Shown, Study, StudyError};
use crate::study::record::TrialRecord;
use crate::study::space::{Assignment, Params};

/// The system attribute of a trial that was added, not drawn: `{"study", "number"}` of what it was, and as `origin` the
/// number that it was first run under, should it have been added there too.
pub const ADDED: &str = "automl:added";

impl Study {
    /// Adds a finished trial of the study `from`, under the next free number, which is returned. It counts as one of this
    /// study's: samplers learn from it and budgets count it. With a declared space its values must be in the domains of
    /// the space, which may be wider than they were, or have more choices; parameters that are new to the space may be
    /// missing.
    ///
    /// # Errors
    /// When the trial is not finished, has another number of values than the study has directions, or does not fit the
    /// space; when the storage fails.
    pub fn add_trial(&mut self, from: &str, trial: &TrialRecord) -> Result<u64, StudyError> {
        let refuse = |why: String| StudyError::Add {
            number: trial.number,
            why,
        };
        if !trial.state.is_finished() {
            return Err(refuse("it is not finished".to_owned()));
        }
        if !trial.values.is_empty() && trial.values.len() != self.directions.len() {
            return Err(refuse(format!(
                "it has {} values, and the study {} directions",
                trial.values.len(),
                self.directions.len()
            )));
        }
        let mut record = TrialRecord {
            number: self.trials.len() as u64,
            params: self.in_own_domains(&trial.params).map_err(refuse)?,
            ..trial.clone()
        };
        let before = record.system_attrs.get(ADDED);
        let origin = before.and_then(|source| source["origin"].as_u64());
        let origin = origin.unwrap_or(trial.number);
        let source = json!({"study": from, "number": trial.number, "origin": origin});
        record.system_attrs.insert(ADDED.to_owned(), source);
        self.storage.write_trial(&self.name, &record)?;
        let number = record.number;
        let params = self.own_params(&record).into_owned();
        self.put(record);
        self.advance();
        self.show(number, Shown::whole(params));
        Ok(number)
    }

    /// The same values, in the domains of the declared space.
    fn in_own_domains(&self, params: &Params) -> Result<Params, String> {
        let Some(space) = &self.space else {
            return Ok(params.clone());
        };
        if let Some((name, _)) = params.iter().find(|(name, _)| space.param(name).is_none()) {
            return Err(format!("the space has no parameter `{name}`"));
        }
        let mut own = Params::default();
        for param in space.params() {
            let Some(given) = params.assignment(&param.name) else {
                continue;
            };
            let internal = param.domain.internal(&given.value());
            own.0.push(Assignment {
                name: param.name.clone(),
                internal: internal.map_err(|error| format!("`{}`: {error}", param.name))?,
                domain: param.domain.clone(),
            });
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::study::declared::{Param, Space};
    use crate::study::engine::{Budget, StudyBuilder};
    use crate::study::objective::Stop;
    use crate::study::sampler::gp::Gp;
    use crate::study::space::Domain;
    use crate::study::storage::{Storage, memory::Memory};
    use crate::study::trial::Trial;

    fn space(high: f64, choices: &[&str]) -> Space {
        let x = Domain::float(0.0, high, None, false).unwrap();
        let kind = Domain::categorical(choices.iter().copied()).unwrap();
        Space::new(vec![Param::new("x", x), Param::new("kind", kind)]).unwrap()
    }

    fn objective(trial: &mut Trial) -> Result<f64, Stop> {
        let kind = trial.params().assignment("kind").unwrap().internal;
        let x = trial.params().assignment("x").unwrap().internal;
        if trial.number() % 7 == 3 {
            return Err(Stop::failed("on purpose"));
        }
        Ok((x - 1.7).powi(2) + kind)
    }

    fn narrow() -> crate::study::Study {
        let builder = Study::builder("narrow").space(space(1.0, &["b", "a"]));
        let mut study = builder.open().unwrap();
        study.optimize(Budget::trials(30), objective).unwrap();
        study
    }

    #[test]
    fn a_wider_space_keeps_what_was_learnt() {
        let narrow = narrow();
        let wider = Study::builder("wider").space(space(2.0, &["a", "b", "c"]));
        let mut study = wider.sampler(Gp::default()).open().unwrap();
        for trial in narrow.trials() {
            assert_eq!(study.add_trial("narrow", trial).unwrap(), trial.number);
        }
        let best = study.best().unwrap();
        assert_eq!(best.value(), narrow.best().unwrap().value());
        let values = |t: &TrialRecord| t.params.iter().map(|(_, v)| v).collect::<Vec<_>>();
        for (was, is) in narrow.trials().iter().zip(study.trials()) {
            assert_eq!(values(was), values(is));
            assert_eq!(was.state, is.state);
        }
        // Near the old bound from the first draw on, where a start from nothing would be spread over the space.
        study
            .optimize(Budget::trials(33), |trial| {
                let x = trial.params().assignment("x").unwrap().internal;
                assert!(x > 0.9, "{x}");
                objective(trial)
            })
            .unwrap();
    }

    #[test]
    fn a_study_that_begins_with_others_is_a_sequence_too() {
        let narrow = narrow();
        let describe = |storage: Arc<dyn Storage>| -> StudyBuilder {
            Study::builder("s").concurrency(3).storage(storage)
        };
        let run = |stops: &[u64]| {
            let storage: Arc<dyn Storage> = Arc::new(Memory::new());
            let mut study = describe(Arc::clone(&storage)).open().unwrap();
            for trial in narrow.trials() {
                study.add_trial("narrow", trial).unwrap();
            }
            for stop in stops {
                study = describe(Arc::clone(&storage)).open().unwrap();
                let done = study.optimize(Budget::trials(*stop), |trial| {
                    let x = trial.float("x", 0.0..=1.0).uniform()?;
                    trial.categorical("kind", ["b", "a"])?;
                    Ok(x)
                });
                done.unwrap();
            }
            let trials = study.trials().iter();
            trials.map(|t| t.params.clone()).collect::<Vec<_>>()
        };
        assert_eq!(run(&[31, 32, 40]), run(&[40]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let narrow = narrow();
        let error = |space: Space, two: bool| {
            use crate::study::Direction::Minimize;
            let builder = Study::builder("other").space(space);
            let directions = vec![Minimize; 1 + usize::from(two)];
            let mut study = builder.directions(directions).open().unwrap();
            let error = study.add_trial("narrow", &narrow.trials()[0]).unwrap_err();
            assert!(study.trials().is_empty());
            error.to_string()
        };
        let smaller = error(space(1e-9, &["a", "b"]), false);
        assert!(
            smaller.contains("trial 0 cannot be added: `x`: "),
            "{smaller}"
        );
        let x = Domain::float(0.0, 1.0, None, false).unwrap();
        let without = Space::new(vec![Param::new("x", x)]).unwrap();
        let message = error(without, false);
        assert!(
            message.ends_with("the space has no parameter `kind`"),
            "{message}"
        );
        let two = error(space(1.0, &["a", "b"]), true);
        assert!(
            two.ends_with("it has 1 values, and the study 2 directions"),
            "{two}"
        );
    }
}
