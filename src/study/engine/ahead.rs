//! No point of a discrete space is tried twice, as far as a trial may know.
//!
//! When a trial begins, its whole point is worked out if that is possible: from the declared space, or from what
//! earlier trials drew. If a trial has tried it, a trial in flight included, one coordinate is moved to the nearest
//! value that makes it new, or, where that does not do, as many as are needed. What cannot be known ahead is kept
//! apart while the objective draws. All of this follows from what the trial may see, so the sequence rule holds, and
//! where any parameter has infinitely many values nothing changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use crate::study::declared::Space;
use crate::study::record::TrialRecord;
use crate::study::space::{Assignment, Domain, Params};
use crate::study::trial::Trial;
use crate::study::visited::{self, Step};

use super::{Shown, Study};

/// What happens when every point of a discrete space was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// The study ends. Trials that are enqueued still run.
    #[default]
    Stop,
    /// Points are tried again, as the sampler proposes them.
    Repeat,
}

/// How many alternatives are looked at before coordinates are moved one after the other.
const MOST_ALTERNATIVES: usize = 10_000;

impl Study {
    /// The parameters of a trial that make its point: those of the declared space, else all.
    pub(super) fn own_params<'a>(&self, trial: &'a TrialRecord) -> Cow<'a, Params> {
        let Some(space) = &self.space else {
            return Cow::Borrowed(&trial.params);
        };
        let own = |a: &&Assignment| space.param(&a.name).is_some();
        if trial.params.0.iter().all(|a| own(&a)) {
            return Cow::Borrowed(&trial.params);
        }
        // The objective drew others later.
        Cow::Owned(Params(trial.params.0.iter().filter(own).cloned().collect()))
    }

    /// Whether the study ends because the next trial could only repeat another.
    pub(super) fn exhausted(&mut self) -> bool {
        // A trial that exists runs.
        if self.on_exhausted == Exhausted::Repeat || (self.next as usize) < self.trials.len() {
            return false;
        }
        let visible = (self.next + 1).saturating_sub(self.concurrency);
        let unknown = {
            let visited = self.visited.read().unwrap_or_else(PoisonError::into_inner);
            matches!(visited.after(visible, &Params::default()), Step::Endless)
        };
        let view = self.view(self.next);
        let ctx = view.context(self.next);
        if view.sampler.exhausted(&ctx) {
            return true;
        }
        if unknown {
            return false;
        }
        let held = |t: &Arc<TrialRecord>| {
            t.params
                .0
                .iter()
                .any(|a| view.sampler.holds(&a.name, &a.domain))
        };
        if !ctx.history.last().is_some_and(held) {
            // Without a declared space, nobody knows what else there is in a branch that only trials in flight have come to.
            let in_flight = self.space.is_some();
            return view.sight(|sight| sight.exhausted(in_flight));
        }
        // Only part of the space can be proposed: the trial would begin at a point that was tried.
        let proposed = view.sampler.propose(&ctx);
        let record = TrialRecord::waiting(self.next);
        let mut trial = Trial::new(record, view, proposed, BTreeMap::new());
        self.look_ahead(&mut trial);
        trial.settled && trial.view.sight(|sight| sight.tried(&trial.ahead))
    }

    /// Works out the point of a trial that begins, if that is possible.
    pub(super) fn look_ahead(&self, trial: &mut Trial) {
        let endless = |space: &Space| {
            let mut always = space.params().iter().filter(|p| p.when.is_empty());
            always.any(|p| visited::points(&p.domain).is_none())
        };
        if self.space.as_ref().is_some_and(endless) {
            return;
        }
        let mut chosen = Params::default();
        match self.point(trial, &mut chosen) {
            Some(point) => {
                trial.ahead = point;
                trial.settled = true;
            }
            // No draw is made twice.
            None => trial.ahead = chosen,
        }
    }

    /// What later trials see of one that drew what is drawn when it is asked for.
    pub(super) fn shown_of(&self, trial: &Trial) -> Shown {
        let whole = |params: &Params| Shown {
            params: params.clone(),
            whole: true,
            trial: None,
        };
        if self.space.is_some() {
            return whole(&trial.record.params);
        }
        if trial.settled {
            return whole(&trial.ahead);
        }
        let endless = {
            let visited = self.visited.read().unwrap_or_else(PoisonError::into_inner);
            let visible = trial.view.visible as u64;
            matches!(visited.after(visible, &Params::default()), Step::Endless)
        };
        Shown {
            params: self.known_when_asked(trial),
            whole: false,
            trial: (self.concurrency > 1 && !endless).then(|| {
                let mut trial = trial.anew();
                if trial.view.visible == 0 {
                    // Whoever holds the history makes the study copy it.
                    trial.view.history = Arc::default();
                }
                Arc::new(trial)
            }),
        }
    }

    /// Completes what trials in flight show to a trial that sees the first `visible` ones, where these tell what comes
    /// after what.
    pub(super) fn complete_shown(&mut self, visible: u64, number: u64) {
        if visible == 0 {
            return;
        }
        for shown in self.shown.range_mut(visible..number).map(|(_, s)| s) {
            let Some(trial) = &shown.trial else {
                continue;
            };
            let mut drawn = trial.anew();
            let whole = loop {
                let step = {
                    let visited = self.visited.read().unwrap_or_else(PoisonError::into_inner);
                    match visited.after(visible, &drawn.record.params) {
                        Step::Draw(name, domain) => Ok((name.to_owned(), domain.clone())),
                        Step::End => Err(true),
                        Step::Endless | Step::Unknown => Err(false),
                    }
                };
                match step {
                    Ok((name, domain)) if drawn.draw(&name, &domain).is_err() => break false,
                    Ok(_) => {}
                    Err(end) => break end,
                }
            };
            if whole {
                shown.params = drawn.record.params;
                shown.whole = true;
                shown.trial = None;
            }
        }
    }

    /// The whole point of a trial before its first draw: `None` when it is not known or not discrete.
    fn point(&self, trial: &Trial, chosen: &mut Params) -> Option<Params> {
        let wanted = self.walk(trial, chosen, Params::default())?;
        let tried = |point: &Params| trial.view.sight(|sight| sight.tried(point));
        if wanted.0.is_empty() || !tried(&wanted) {
            return Some(wanted);
        }
        // One coordinate, each with the same chance, by as little as possible.
        let seed = trial.view.seed.child("moved", 0);
        let mut free: Vec<(u64, usize)> = wanted
            .0
            .iter()
            .enumerate()
            .filter(|(_, a)| !trial.holds(&a.name, &a.domain) && !a.domain.is_single())
            .map(|(at, a)| (seed.child(&a.name, 0).value(), at))
            .collect();
        free.sort_unstable();
        let mut ways: Vec<_> = free
            .iter()
            .map(|&(key, at)| {
                let a = &wanted.0[at];
                let points = visited::points(&a.domain).unwrap_or(1);
                let place = visited::place(&a.domain, a.internal);
                (at, visited::nearest(&a.domain, points, place, key & 1 == 0))
            })
            .collect();
        let mut looked_at = 0;
        let mut before = None;
        while before != Some(looked_at) && looked_at < MOST_ALTERNATIVES {
            before = Some(looked_at);
            for (at, places) in &mut ways {
                let Some(place) = places.next() else {
                    continue;
                };
                looked_at += 1;
                let mut begin = Params(wanted.0[..=*at].to_vec());
                let moved = &mut begin.0[*at];
                moved.internal = visited::value_at(&moved.domain, place);
                if let Some(point) = self.walk(trial, chosen, begin)
                    && !tried(&point)
                {
                    return Some(point);
                }
            }
        }
        self.walk_free(trial, chosen)
    }

    /// Goes on from `prefix` with what the trial would draw, which `chosen` remembers.
    fn walk(&self, trial: &Trial, chosen: &mut Params, prefix: Params) -> Option<Params> {
        let mut point = prefix;
        while let Some((name, domain)) = self.next_of(trial, &point)? {
            let internal = match chosen.assignment(&name) {
                Some(known) if known.domain == domain => known.internal,
                _ => trial.choose(&name, &domain).ok()?,
            };
            let assignment = Assignment {
                name,
                domain,
                internal,
            };
            if chosen.assignment(&assignment.name).is_none() {
                chosen.0.push(assignment.clone());
            }
            point.0.push(assignment);
        }
        Some(point)
    }

    /// What the trial would draw, each coordinate moved to where something is left to try.
    fn walk_free(&self, trial: &Trial, chosen: &Params) -> Option<Params> {
        let mut point = Params::default();
        while let Some((name, domain)) = self.next_of(trial, &point)? {
            let known = chosen.assignment(&name).filter(|a| a.domain == domain);
            let wanted = match known {
                Some(known) => known.internal,
                None => trial.choose(&name, &domain).ok()?,
            };
            let up = trial.view.seed.child("free", 0).child(&name, 0).value() & 1 == 0;
            let internal = if trial.holds(&name, &domain) {
                wanted
            } else {
                let free = |s: &visited::Sight<'_>| s.free(&point, &name, &domain, wanted, up);
                trial.view.sight(free)
            };
            point.0.push(Assignment {
                name,
                domain,
                internal,
            });
        }
        Some(point)
    }

    /// The parameter after those of `point`, `Some(None)` at the end, `None` when it is unknown or not discrete.
    #[allow(
        clippy::option_option,
        reason = "three answers, used with `?` and `while let`"
    )]
    fn next_of(&self, trial: &Trial, point: &Params) -> Option<Option<(String, Domain)>> {
        if let Some(space) = &self.space {
            return match space.after(point) {
                None => Some(None),
                Some(p) if visited::points(&p.domain).is_some() => {
                    Some(Some((p.name.clone(), p.domain.clone())))
                }
                Some(_) => None,
            };
        }
        let visited = self.visited.read().unwrap_or_else(PoisonError::into_inner);
        match visited.after(trial.view.visible as u64, point) {
            Step::Draw(name, domain) => Some(Some((name.to_owned(), domain.clone()))),
            Step::End => Some(None),
            Step::Endless | Step::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
