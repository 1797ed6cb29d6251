//! Which points of a discrete space have been tried, so that no work is done twice.
//!
//! A tree with one level per parameter, in the order in which trials draw them; a path from the root to a leaf is
//! one point. Conditions and define-by-run need nothing special: what comes after a prefix of values is what trials
//! drew after it. A node is *full* when every point below it was tried. A parameter with infinitely many values ends
//! a path, and nothing above it is ever full, so continuous spaces are left alone.
//!
//! **Contract.** Trials are added in the order of their numbers, and everything is dated with them: a question is
//! asked for the first `visible` trials and its answer depends on no later one. So the tree can be shared by trials
//! that run at once. Trials in flight are given with the question. Where trials disagree (another parameter or domain
//! after the same prefix), nothing is said any more: the first one counts and nothing above the place is ever full.

use std::collections::{BTreeMap, BTreeSet};

use super::space::{Domain, Params};

/// Domains of more values than this are never exhausted in practice, and are not followed.
const MOST: u64 = 1 << 32;

/// The number of values of a discrete domain; `None` when they are infinitely many, or too many to ever try.
pub(crate) fn points(domain: &Domain) -> Option<u64> {
    let points = match domain {
        _ if domain.is_single() => 1,
        Domain::Float {
            low,
            high,
            step: Some(step),
            ..
        } => (((high - low) / step).round() + 1.0).min(MOST as f64 + 1.0) as u64,
        Domain::Float { .. } => return None,
        Domain::Int {
            low, high, step, ..
        } => {
            let steps = (i128::from(*high) - i128::from(*low)) / i128::from(*step);
            u64::try_from(steps).ok()?.checked_add(1)?
        }
        Domain::Categorical { choices } => choices.len() as u64,
    };
    (points <= MOST).then_some(points)
}

/// The place of an internal value among the values of its discrete domain, from 0.
pub(crate) fn place(domain: &Domain, internal: f64) -> u64 {
    match domain {
        Domain::Float {
            low,
            step: Some(step),
            ..
        } => ((internal - low) / step).round().max(0.0) as u64,
        Domain::Float { .. } => 0,
        Domain::Int { low, step, .. } => {
            ((i128::from(internal as i64) - i128::from(*low)) / i128::from(*step)) as u64
        }
        Domain::Categorical { .. } => internal.max(0.0) as u64,
    }
}

/// The internal value at a place of a discrete domain.
pub(crate) fn value_at(domain: &Domain, place: u64) -> f64 {
    match domain {
        Domain::Float {
            low,
            step: Some(step),
            ..
        } => low + place as f64 * step,
        Domain::Float { low, .. } => *low,
        Domain::Int { low, step, .. } => {
            (i128::from(*low) + i128::from(place) * i128::from(*step)) as f64
        }
        Domain::Categorical { .. } => place as f64,
    }
}

/// The places of a domain of `points` values, nearest to `wanted` first, without it. Of two equally near ones the
/// upper comes first when `up`. Choices have no order: theirs goes round from `wanted` on.
pub(crate) fn nearest(
    domain: &Domain,
    points: u64,
    wanted: u64,
    up: bool,
) -> Box<dyn Iterator<Item = u64>> {
    if matches!(domain, Domain::Categorical { .. }) {
        return Box::new((1..points).map(move |d| {
            let d = if up { d } else { points - d };
            (wanted + d) % points
        }));
    }
    Box::new((1..points).flat_map(move |d| {
        let below = wanted.checked_sub(d);
        let above = (wanted + d < points).then_some(wanted + d);
        if up { [above, below] } else { [below, above] }
            .into_iter()
            .flatten()
    }))
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Visited {
    nodes: Vec<Node>,
    /// By the last drawn parameter, what trials drew next, if anything; to guess what comes after a prefix that no trial had.
    followers: BTreeMap<String, Vec<Follower>>,
}

/// What some trial drew after a parameter, and the first trial that did.
#[derive(Debug)]
struct Follower {
    next: Option<(String, Domain)>,
    from: u64,
}

/// A date before which all trials are.
const NEVER: u64 = u64::MAX;

#[derive(Debug)]
struct Node {
    next: Option<Next>,
    /// By place.
    children: BTreeMap<u64, usize>,
    full_children: u64,
    /// The trial that made it full.
    full_from: u64,
    /// The trial that disagreed with an earlier one, here or below.
    open_from: u64,
}

/// The parameter that comes after a prefix.
#[derive(Debug)]
struct Next {
    name: String,
    domain: Domain,
    points: Option<u64>,
    /// The first trial that drew it.
    from: u64,
}

impl Default for Visited {
    fn default() -> Self {
        Visited {
            nodes: vec![Node::new()],
            followers: BTreeMap::new(),
        }
    }
}

impl Node {
    fn new() -> Self {
        Node {
            next: None,
            children: BTreeMap::new(),
            full_children: 0,
            full_from: NEVER,
            open_from: NEVER,
        }
    }

    fn next(&self, visible: u64) -> Option<&Next> {
        self.next.as_ref().filter(|next| next.from < visible)
    }
}

/// What comes after a prefix, as far as is known.
pub(crate) enum Step<'a> {
    /// This parameter.
    Draw(&'a str, &'a Domain),
    /// Nothing: the prefix is a whole point.
    End,
    /// A parameter with infinitely many values.
    Endless,
    /// No trial tells.
    Unknown,
}

impl Visited {
    /// Adds the point of finished trial `number`, which may have `failed` before it drew all of it.
    pub(crate) fn add(&mut self, number: u64, params: &Params, failed: bool) {
        if params
            .0
            .first()
            .is_some_and(|a| points(&a.domain).is_some())
        {
            self.follow(number, params, failed);
        }
        let mut path = vec![0];
        for assignment in &params.0 {
            let at = path[path.len() - 1];
            let node = &mut self.nodes[at];
            if node.next.is_none() {
                if node.full_from != NEVER {
                    // A trial ended here, and this one goes on.
                    return self.disagree(number, &path);
                }
                node.next = Some(Next {
                    name: assignment.name.clone(),
                    domain: assignment.domain.clone(),
                    points: points(&assignment.domain),
                    from: number,
                });
            }
            let next = node
                .next
                .as_ref()
                .filter(|n| n.name == assignment.name && n.domain == assignment.domain);
            let Some(next) = next else {
                return self.disagree(number, &path);
            };
            if next.points.is_none() {
                return;
            }
            let place = place(&next.domain, assignment.internal);
            let fresh = self.nodes.len();
            let child = *self.nodes[at].children.entry(place).or_insert(fresh);
            if child == fresh {
                self.nodes.push(Node::new());
            }
            path.push(child);
        }
        let leaf = &mut self.nodes[path[path.len() - 1]];
        // A trial that draws nothing, or that ended where others went on, says nothing of points.
        if path.len() == 1 || leaf.next.is_some() || leaf.full_from != NEVER {
            return;
        }
        leaf.full_from = number;
        for &parent in path[..path.len() - 1].iter().rev() {
            let node = &mut self.nodes[parent];
            if node.open_from != NEVER {
                return;
            }
            node.full_children += 1;
            if node.next.as_ref().and_then(|n| n.points) != Some(node.full_children) {
                return;
            }
            node.full_from = number;
        }
    }

    fn follow(&mut self, number: u64, params: &Params, failed: bool) {
        for (i, a) in params.0.iter().enumerate() {
            let next = params.0.get(i + 1);
            if next.is_none() && failed {
                return;
            }
            if !self.followers.contains_key(&a.name) {
                self.followers.insert(a.name.clone(), Vec::new());
            }
            let Some(known) = self.followers.get_mut(&a.name) else {
                return;
            };
            let same = |f: &Follower| match (&f.next, next) {
                (None, None) => true,
                (Some((name, domain)), Some(b)) => *name == b.name && *domain == b.domain,
                _ => false,
            };
            // Two are as good as many: nothing is guessed.
            if known.len() < 2 && !known.iter().any(same) {
                known.push(Follower {
                    next: next.map(|b| (b.name.clone(), b.domain.clone())),
                    from: number,
                });
            }
        }
    }

    fn disagree(&mut self, number: u64, path: &[usize]) {
        for &at in path {
            let open_from = &mut self.nodes[at].open_from;
            *open_from = (*open_from).min(number);
        }
    }

    /// What the first `visible` trials drew after the values of `prefix`; where none had these, what all of them drew
    /// after the last parameter.
    pub(crate) fn after(&self, visible: u64, prefix: &Params) -> Step<'_> {
        if let Some(node) = self.node(visible, prefix) {
            match node.next(visible) {
                Some(next) if next.points.is_some() => return Step::Draw(&next.name, &next.domain),
                Some(_) => return Step::Endless,
                None if node.full_from < visible => return Step::End,
                None => {}
            }
        }
        let last = prefix.0.last().and_then(|a| self.followers.get(&a.name));
        // A guess that comes back to a parameter of the prefix would go round for ever.
        let again = |f: &&Follower| match &f.next {
            Some((name, _)) => prefix.assignment(name).is_some(),
            None => false,
        };
        let mut known = last.into_iter().flatten().filter(|f| f.from < visible);
        if known.clone().any(|f| again(&f)) {
            return Step::Unknown;
        }
        match (known.next(), known.next()) {
            (Some(Follower { next: None, .. }), None) => Step::End,
            (
                Some(Follower {
                    next: Some((name, domain)),
                    ..
                }),
                None,
            ) => match points(domain) {
                Some(_) => Step::Draw(name, domain),
                None => Step::Endless,
            },
            _ => Step::Unknown,
        }
    }

    fn node(&self, visible: u64, prefix: &Params) -> Option<&Node> {
        let mut node = &self.nodes[0];
        for a in &prefix.0 {
            let next = node.next(visible)?;
            if next.name != a.name || next.domain != a.domain {
                return None;
            }
            node = &self.nodes[*node.children.get(&place(&a.domain, a.internal))?];
        }
        Some(node)
    }

    /// Whether every point below `prefix` is among the first `visible` trials or `pending`.
    fn full(&self, visible: u64, node: Option<&Node>, depth: usize, pending: &[&Params]) -> bool {
        let mut known = None;
        if let Some(node) = node {
            if node.open_from < visible {
                return false;
            }
            if node.full_from < visible {
                return true;
            }
            known = node.next(visible).map(|n| (&n.name, &n.domain, n.points));
        }
        let Some(first) = pending.first() else {
            return false;
        };
        let here = match (first.0.get(depth), known) {
            // It ends here, and nobody went on from here.
            (None, None) => return true,
            (None, Some(_)) => return false,
            (Some(a), None) => (&a.name, &a.domain, points(&a.domain)),
            (Some(_), Some(known)) => known,
        };
        let (name, domain, Some(points)) = here else {
            return false;
        };
        let mut below: BTreeMap<u64, Vec<&Params>> = BTreeMap::new();
        for params in pending {
            match params.0.get(depth) {
                Some(a) if a.name == *name && a.domain == *domain => {
                    let at = place(domain, a.internal);
                    below.entry(at).or_default().push(params);
                }
                _ => return false,
            }
        }
        let children = node.map(|n| &n.children);
        let tried: BTreeSet<u64> = children
            .into_iter()
            .flat_map(|c| c.keys().copied())
            .chain(below.keys().copied())
            .collect();
        tried.len() as u64 == points
            && tried.iter().all(|at| {
                let child = children.and_then(|c| c.get(at)).map(|i| &self.nodes[*i]);
                let pending = below.get(at).map_or(&[][..], Vec::as_slice);
                self.full(visible, child, depth + 1, pending)
            })
    }
}

/// Asks about points as one trial sees them: the first `visible` trials, and those in flight whose point is known.
pub(crate) struct Sight<'a> {
    pub visited: &'a Visited,
    pub visible: u64,
    pub pending: Vec<&'a Params>,
}

impl Sight<'_> {
    /// Whether every point of the space was tried, where `in_flight` by trials in flight as well.
    pub(crate) fn exhausted(&self, in_flight: bool) -> bool {
        let root = &self.visited.nodes[0];
        let pending: &[&Params] = if in_flight { &self.pending } else { &[] };
        self.visited.full(self.visible, Some(root), 0, pending)
    }

    /// Whether `params` is a point that was tried.
    pub(crate) fn tried(&self, params: &Params) -> bool {
        let node = self.visited.node(self.visible, params);
        let pending = self.along(params);
        self.visited
            .full(self.visible, node, params.0.len(), &pending)
    }

    /// The trials in flight that begin as `prefix` does.
    fn along(&self, prefix: &Params) -> Vec<&Params> {
        let n = prefix.0.len();
        let begins = |p: &&&Params| p.0.get(..n).is_some_and(|begin| begin == prefix.0);
        self.pending.iter().filter(begins).copied().collect()
    }

    /// The value of `domain` nearest to `wanted` from which, after the values of `prefix`, an untried point can be
    /// reached; `wanted` itself when there is none.
    pub(crate) fn free(
        &self,
        prefix: &Params,
        name: &str,
        domain: &Domain,
        wanted: f64,
        up: bool,
    ) -> f64 {
        let Some(points) = points(domain) else {
            return wanted;
        };
        let depth = prefix.0.len();
        let node = self.visited.node(self.visible, prefix);
        let next = node.and_then(|n| n.next(self.visible));
        if next.is_some_and(|n| n.name != name || n.domain != *domain) {
            return wanted;
        }
        let along = self.along(prefix);
        let same = |p: &&&Params| {
            let a = p.0.get(depth);
            a.is_some_and(|a| a.name == name && a.domain == *domain)
        };
        let along: Vec<&Params> = along.iter().filter(same).copied().collect();
        let full = |at: u64| {
            let child = node.and_then(|n| n.children.get(&at));
            let child = child.map(|i| &self.visited.nodes[*i]);
            let here = |p: &&&Params| place(domain, p.0[depth].internal) == at;
            let pending: Vec<&Params> = along.iter().filter(here).copied().collect();
            if child.is_none() && pending.is_empty() {
                return false;
            }
            self.visited.full(self.visible, child, depth + 1, &pending)
        };
        let at = place(domain, wanted);
        if !full(at) {
            return wanted;
        }
        let free = nearest(domain, points, at, up).find(|at| !full(*at));
        free.map_or(wanted, |at| value_at(domain, at))
    }
}
