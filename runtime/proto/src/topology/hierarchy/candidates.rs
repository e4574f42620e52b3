//! Who can be the parent: the host's conditions first, then the policy's scores.

use super::*;

/// The children that members say they are, and the parents they have.
struct Kin<'a> {
    children: BTreeMap<NodeId, Vec<NodeId>>,
    parents: BTreeMap<NodeId, &'a Seen<'a>>,
}

impl<'a> Kin<'a> {
    fn of(seen: &'a [Seen<'a>]) -> Kin<'a> {
        let living = || seen.iter().filter(|seen| seen.life != Life::Gone);
        let mut children: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for child in living() {
            if let Some(parent) = child.standing.parent {
                children.entry(parent).or_default().push(child.node);
            }
        }
        Kin { children, parents: living().map(|seen| (seen.node, seen)).collect() }
    }

    fn children(&self, node: &NodeId) -> &[NodeId] {
        self.children.get(node).map_or(&[], Vec::as_slice)
    }

    /// Says whether `own` is among the ancestors of a node, or their chain does not end.
    fn is_loop(&self, own: &NodeId, node: NodeId) -> bool {
        let mut at = node;
        for _ in 0..MAX_ANCESTORS {
            if at == *own {
                return true;
            }
            match self.parents.get(&at).and_then(|seen| seen.standing.parent) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        true
    }
}

impl Hierarchy {
    /// Returns a row for every member above this node, and for every other that it can be confused with.
    pub(super) fn candidates(&mut self, now: Instant, seen: &[Seen<'_>], score: &mut Score<'_>) -> Vec<Row> {
        let kin = Kin::of(seen);
        let others: Vec<&Seen<'_>> = seen.iter().filter(|seen| seen.node != self.own).collect();
        let mut rows: Vec<Row> = others.iter().map(|seen| self.row(seen, &kin)).collect();
        self.leave_the_nearest_level(&mut rows);
        let asked = self.ask_about(&mut rows, &others);
        let columns = self.columns(now, &asked, &rows, &others);
        self.score(&columns, &asked, &mut rows, score);
        rows
    }

    /// Judges by the host's conditions alone; who meets them is [`Verdict::Behind`] until it is compared.
    fn row(&self, seen: &Seen<'_>, kin: &Kin<'_>) -> Row {
        let distance_m = self.profile.position.zip(seen.profile.position).map(|(a, b)| distance_m(a, b));
        let children = kin.children(&seen.node);
        Row {
            node: seen.node,
            level: seen.profile.level,
            score: 0,
            parts: parts(seen.profile, distance_m, &self.weights),
            distance_m,
            children: u32::try_from(children.len()).unwrap_or(u32::MAX),
            verdict: self.objection(seen, distance_m, children, kin).unwrap_or(Verdict::Behind),
        }
    }

    fn objection(
        &self,
        seen: &Seen<'_>,
        distance_m: Option<u32>,
        children: &[NodeId],
        kin: &Kin<'_>,
    ) -> Option<Verdict> {
        let is_parent = self.parent() == Some(seen.node);
        let lives = seen.life == Life::Alive || is_parent && seen.life == Life::Suspect;
        if !seen.profile.is_above(self.profile.level) {
            return Some(Verdict::WrongLevel);
        }
        if !lives {
            return Some(Verdict::NotAlive);
        }
        if let Some(lack) = seen.profile.lacks() {
            return Some(Verdict::Unfit(lack));
        }
        if self.shunned.contains_key(&seen.node) && seen.rtt_us.is_none() {
            return Some(Verdict::Unreachable);
        }
        if distance_m.zip(self.weights.max_distance_m).is_some_and(|(far, max)| far > max) {
            return Some(Verdict::TooFar);
        }
        // When too many have come at once, those with the higher ids go.
        let before = children.iter().filter(|child| !is_parent || **child < self.own).count();
        if before >= usize::from(seen.profile.max_children) {
            return Some(Verdict::Full);
        }
        kin.is_loop(&self.own, seen.node).then_some(Verdict::Loop)
    }

    /// Of several levels the lowest counts: a platform's parent is a squad, and a platoon only where no squad
    /// will do.
    fn leave_the_nearest_level(&self, rows: &mut [Row]) {
        let good = |row: &&Row| row.verdict == Verdict::Behind;
        let Some(nearest) = rows.iter().filter(good).map(|row| row.level).min() else { return };
        for row in rows.iter_mut().filter(|row| row.verdict == Verdict::Behind && row.level > nearest) {
            row.verdict = Verdict::NearerLevel;
        }
    }

    /// Returns the rows that the policy is asked about: of too many the parent, then those with the shortest
    /// links, then the nearest.
    fn ask_about(&self, rows: &mut [Row], others: &[&Seen<'_>]) -> Vec<usize> {
        let mut asked: Vec<usize> =
            (0..rows.len()).filter(|&at| rows[at].verdict == Verdict::Behind).collect();
        if asked.len() > MAX_CANDIDATES {
            let far = |at: usize| rows[at].distance_m.unwrap_or(UNKNOWN);
            asked.sort_by_key(|&at| {
                let is_other = self.parent() != Some(rows[at].node);
                (is_other, others[at].rtt_us.unwrap_or(UNKNOWN), far(at), rows[at].node)
            });
            asked.drain(MAX_CANDIDATES..).for_each(|at| rows[at].verdict = Verdict::NotAsked);
        }
        asked.sort_by_key(|&at| rows[at].node);
        asked
    }

    fn columns(&mut self, now: Instant, asked: &[usize], rows: &[Row], others: &[&Seen<'_>]) -> Candidates {
        let ids: Vec<NodeId> = asked.iter().map(|&at| rows[at].node).collect();
        let mut columns = Candidates { node: self.number(&ids), ..Candidates::default() };
        for (row, seen) in asked.iter().map(|&at| (&rows[at], others[at])) {
            let Seen { profile, .. } = seen;
            columns.level.push(profile.level as u8);
            columns.same_cell.push(u8::from(profile.cell == self.profile.cell));
            columns.is_parent.push(u8::from(self.parent() == Some(seen.node)));
            columns.mobility.push(profile.mobility as u8);
            columns.battery.push(profile.battery.unwrap_or(MAINS));
            columns.cpu_used.push(profile.cpu_used);
            columns.memory_used.push(profile.memory_used);
            columns.cores.push(profile.cores.into());
            columns.memory_mb.push(profile.memory_mb);
            columns.uplink_mbps.push(profile.uplink_mbps);
            columns.distance_m.push(row.distance_m.unwrap_or(UNKNOWN));
            columns.rtt_us.push(seen.rtt_us.unwrap_or(UNKNOWN));
            columns.up_s.push(u32::try_from(now.since(seen.since).as_secs()).unwrap_or(u32::MAX));
            columns.children.push(row.children);
            columns.max_children.push(profile.max_children.into());
        }
        columns
    }

    /// Gives each node a number that it keeps while it is asked about.
    fn number(&mut self, ids: &[NodeId]) -> Vec<u32> {
        let mut before = std::mem::take(&mut self.numbers);
        for id in ids {
            let number = before.remove(id).unwrap_or_else(|| {
                self.next_number = self.next_number.wrapping_add(1);
                self.next_number
            });
            self.numbers.insert(*id, number);
        }
        ids.iter().map(|id| self.numbers[id]).collect()
    }

    fn score(&self, columns: &Candidates, asked: &[usize], rows: &mut [Row], score: &mut Score<'_>) {
        if columns.is_empty() {
            return;
        }
        let asker = self.asker();
        let mut scores = Vec::new();
        score(&asker, columns, &mut scores);
        if scores.len() != columns.len() {
            crate::policy::native::score(&asker, columns, &mut scores);
        }
        for (&at, score) in asked.iter().zip(scores) {
            rows[at].score = score.min(MAX_SCORE);
        }
    }

    fn asker(&self) -> Asker {
        let Weights { mobility, resources, battery, proximity, max_distance_m, .. } = self.weights;
        Asker {
            level: self.profile.level as u8,
            mobility: self.profile.mobility as u8,
            battery: self.profile.battery.unwrap_or(MAINS),
            weights: [mobility, resources, battery, proximity],
            max_distance_m: max_distance_m.unwrap_or(UNKNOWN),
        }
    }
}
