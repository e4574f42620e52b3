//! The built-in policies: what a slot falls back to, and the yardstick that plugins are measured against.

use super::{
    ABSTAIN, Asker, Candidates, CarryBatch, HOLD, Load, Policies, QosBatch, RouteBatch, Shares, TOPIC_BIT,
    UNKNOWN, View, Visitor,
};
use crate::topology::{Parts, Weights};

/// Routes by the lowest sum of round-trip time and told cost; keeps no memory of earlier choices.
#[derive(Clone, Debug, Default)]
pub struct Fastest {
    /// The best two ways by destination: a message never goes back where it came from.
    best: Vec<[u32; 2]>,
}

const NO_WAY: u32 = u32::MAX;

impl Fastest {
    /// Takes the new view in.
    pub fn observe(&mut self, view: &View) {
        self.best.clear();
        let mut costs: Vec<[u64; 2]> = Vec::new();
        for row in 0..view.ways.dest.len() {
            let dest = view.ways.dest[row] as usize;
            let via = view.ways.via[row];
            let rtt = view.links.rtt_us.get(via as usize).copied().unwrap_or(u32::MAX);
            let cost = u64::from(rtt) + u64::from(view.ways.cost_us[row]);
            if dest >= self.best.len() {
                self.best.resize(dest + 1, [NO_WAY; 2]);
                costs.resize(dest + 1, [u64::MAX; 2]);
            }
            if cost < costs[dest][0] {
                self.best[dest] = [via, self.best[dest][0]];
                costs[dest] = [cost, costs[dest][0]];
            } else if cost < costs[dest][1] {
                self.best[dest][1] = via;
                costs[dest][1] = cost;
            }
        }
    }

    /// Returns the next hop for one message.
    #[inline]
    pub fn next_hop(&self, dest: u32, ingress: u32) -> u32 {
        if dest & TOPIC_BIT != 0 {
            return ABSTAIN;
        }
        match self.best.get(dest as usize) {
            Some(&[first, second]) => match if first == ingress { second } else { first } {
                NO_WAY => HOLD,
                via => via,
            },
            None => HOLD,
        }
    }

    /// Answers a whole batch.
    pub fn route(&self, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        verdicts.clear();
        verdicts
            .extend(batch.dest.iter().zip(&batch.ingress).map(|(&dest, &from)| self.next_hop(dest, from)));
    }
}

/// Leaves every message the class that its origin asked for, and shares links by [`Shares::default`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AsAsked;

impl AsAsked {
    /// Answers a whole batch.
    pub fn classify(&self, batch: &QosBatch, classes: &mut Vec<u8>) {
        classes.clear();
        classes.extend_from_slice(&batch.class);
    }
}

/// Scores candidates for a parent by the weights of the one that asks; remembers nothing.
pub fn score(asker: &Asker, candidates: &Candidates, scores: &mut Vec<u32>) {
    let [mobility, resources, battery, proximity] = asker.weights;
    let max_distance_m = (asker.max_distance_m != UNKNOWN).then_some(asker.max_distance_m);
    let weights = Weights { mobility, resources, battery, proximity, max_distance_m, ..Weights::default() };
    let of = |row: usize| {
        let parts = Parts::of(
            candidates.mobility[row],
            [candidates.cpu_used[row], candidates.memory_used[row]],
            candidates.battery[row],
            candidates.distance_m[row],
            max_distance_m,
        );
        parts.total(&weights)
    };
    scores.clear();
    scores.extend((0..candidates.len()).map(of));
}

/// Lets everybody in, and dials everybody.
pub fn admit(visitors: &[Visitor], answers: &mut Vec<bool>) {
    answers.clear();
    answers.resize(visitors.len(), true);
}

/// What a waiting message of each class is worth, most urgent first.
const WORTHS: [u8; 5] = [250, 200, 150, 100, 50];

/// Keeps everything; what is less urgent gives way first.
pub fn carry(batch: &CarryBatch, worths: &mut Vec<u8>) {
    worths.clear();
    worths.extend(batch.class.iter().map(|class| WORTHS[usize::from(*class).min(WORTHS.len() - 1)]));
}

/// All built-in policies together.
#[derive(Clone, Debug, Default)]
pub struct Native {
    /// The routing slot.
    pub routing: Fastest,
    /// The QoS slot.
    pub qos: AsAsked,
}

impl Policies for Native {
    fn observe(&mut self, _now_ms: u64, view: &View) {
        self.routing.observe(view);
    }

    fn route(&mut self, _now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        self.routing.route(batch, verdicts);
    }

    fn classify(&mut self, _now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        self.qos.classify(batch, classes);
    }

    fn divide(&mut self, _now_ms: u64, _load: &Load) -> Shares {
        Shares::default()
    }
}
