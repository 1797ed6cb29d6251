//! Studies in the memory of this process: for tests, and for studies that nobody needs to resume.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::study::record::{Attrs, StudyRecord, TrialRecord};

use super::{Storage, StorageError};

/// A [`Storage`] that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Studies>);

#[derive(Debug, Default)]
struct Studies {
    by_name: BTreeMap<String, (StudyRecord, Vec<TrialRecord>)>,
    /// Names in the order of creation.
    order: Vec<String>,
}

impl Studies {
    fn study(&mut self, name: &str) -> Result<&mut (StudyRecord, Vec<TrialRecord>), StorageError> {
        self.by_name
            .get_mut(name)
            .ok_or_else(|| StorageError::NoStudy {
                name: name.to_owned(),
            })
    }
}

impl Memory {
    /// A storage without studies.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Studies> {
        // No call below can panic half-way through a change, so a poisoned lock still guards whole data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Memory {
    fn create_study(&self, study: &StudyRecord) -> Result<(), StorageError> {
        let mut all = self.lock();
        if all.by_name.contains_key(&study.name) {
            return Err(StorageError::StudyExists {
                name: study.name.clone(),
            });
        }
        all.order.push(study.name.clone());
        all.by_name
            .insert(study.name.clone(), (study.clone(), Vec::new()));
        Ok(())
    }

    fn load_study(&self, name: &str) -> Result<Option<StudyRecord>, StorageError> {
        Ok(self
            .lock()
            .by_name
            .get(name)
            .map(|(study, _)| study.clone()))
    }

    fn load_studies(&self) -> Result<Vec<StudyRecord>, StorageError> {
        let all = self.lock();
        let in_order = all.order.iter().filter_map(|name| all.by_name.get(name));
        Ok(in_order.map(|(study, _)| study.clone()).collect())
    }

    fn annotate_study(
        &self,
        name: &str,
        user_attrs: &Attrs,
        system_attrs: &Attrs,
    ) -> Result<(), StorageError> {
        let mut all = self.lock();
        let (study, _) = all.study(name)?;
        study.user_attrs.extend(user_attrs.clone());
        study.system_attrs.extend(system_attrs.clone());
        Ok(())
    }

    fn load_trials(&self, study: &str) -> Result<Vec<TrialRecord>, StorageError> {
        Ok(self.lock().study(study)?.1.clone())
    }

    fn write_trial(&self, study: &str, trial: &TrialRecord) -> Result<(), StorageError> {
        let mut all = self.lock();
        let (_, trials) = all.study(study)?;
        let next = trials.len() as u64;
        if trial.number > next {
            return Err(StorageError::NumberGap {
                study: study.to_owned(),
                number: trial.number,
                next,
            });
        }
        if trial.number == next {
            trials.push(trial.clone());
            return Ok(());
        }
        let slot = &mut trials[trial.number as usize];
        if slot.state.is_finished() {
            return Err(StorageError::TrialFinished {
                study: study.to_owned(),
                number: trial.number,
            });
        }
        *slot = trial.clone();
        Ok(())
    }
}
