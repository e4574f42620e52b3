//! The policy of both versions: the cheapest way, kept until another is clearly cheaper.

use mesh_sdk::routing::{Dest, Header, Link, Routing, Verdict, View, Way};
use mesh_sdk::{Refusal, Settings};

/// Destinations above this number are left to the host: the table is an array.
const MAX_DEST: u32 = 1 << 18;
const NO_WAY: u32 = u32::MAX;

/// Routes by measured latency with hysteresis. `LOSS_WEIGHT` is how many round trips a lost packet costs.
pub struct Latency<const LOSS_WEIGHT: u64> {
    margin_percent: u64,
    margin_us: u64,
    /// Best and second row by destination: a message never goes back where it came from.
    table: Vec<[u32; 2]>,
    /// Destination and chosen neighbour, both as destination numbers, because rows change with each view; sorted.
    chosen: Vec<[u32; 2]>,
    decided: u64,
}

impl<const LOSS_WEIGHT: u64> Default for Latency<LOSS_WEIGHT> {
    fn default() -> Self {
        Latency { margin_percent: 20, margin_us: 2_000, table: Vec::new(), chosen: Vec::new(), decided: 0 }
    }
}

impl<const LOSS_WEIGHT: u64> Routing for Latency<LOSS_WEIGHT> {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.margin_percent = settings.integer("margin_percent", 20, 0..=1_000)? as u64;
        self.margin_us = settings.integer("margin_us", 2_000, 0..=10_000_000)? as u64;
        settings.finish()
    }

    fn observe(&mut self, view: &View) {
        let peers = peers(view);
        let before = std::mem::take(&mut self.chosen);
        // Both are sorted by destination, so one pass over each is enough.
        let mut before = before.into_iter().peekable();
        self.table.clear();
        for ways in view.ways.chunk_by(|a, b| a.dest == b.dest) {
            let dest = ways[0].dest;
            while before.next_if(|chosen| chosen[0] < dest).is_some() {}
            let kept = before.next_if(|chosen| chosen[0] == dest);
            if dest < MAX_DEST {
                self.choose(view, &peers, ways, kept.map(|[_, peer]| peer));
            }
        }
    }

    #[inline]
    fn route(&mut self, header: &Header) -> Verdict {
        self.decided += 1;
        let Dest::Node(dest) = header.dest else { return Verdict::Abstain };
        let Some(&[first, second]) = self.table.get(dest as usize) else { return Verdict::Hold };
        match if header.ingress == Some(first) { second } else { first } {
            NO_WAY => Verdict::Hold,
            row => Verdict::Via(row),
        }
    }

    /// Counter of decided messages (u64), then pairs of destination and chosen neighbour (u32 each), all
    /// little-endian.
    fn save(&self) -> Vec<u8> {
        let mut state = Vec::with_capacity(8 + 8 * self.chosen.len());
        state.extend(self.decided.to_le_bytes());
        state.extend(self.chosen.as_flattened().iter().flat_map(|number| number.to_le_bytes()));
        state
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        let (decided, pairs) = state.split_first_chunk::<8>().ok_or(Refusal::BadState)?;
        let (pairs, rest) = pairs.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Refusal::BadState);
        }
        self.decided = u64::from_le_bytes(*decided);
        let pair = |&[a, b, c, d, e, f, g, h]: &[u8; 8]| {
            [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
        };
        self.chosen = pairs.iter().map(pair).collect();
        Ok(())
    }
}

impl<const LOSS_WEIGHT: u64> Latency<LOSS_WEIGHT> {
    fn choose(&mut self, view: &View, peers: &[Option<u32>], ways: &[Way], before: Option<u32>) {
        let dest = ways[0].dest;
        let cost = |way: &&Way| self.cost_us(view, way);
        let Some(best) = ways.iter().min_by_key(cost) else { return };
        let peer = |way: &Way| peers.get(way.via as usize).copied().flatten();
        let kept = ways
            .iter()
            .find(|way| before.is_some() && peer(way) == before)
            .filter(|kept| !self.is_clearly_better(cost(&best), cost(kept)));
        let first = kept.unwrap_or(best);
        let second = ways.iter().filter(|way| way.via != first.via).min_by_key(cost);
        let row = [first.via, second.map_or(NO_WAY, |way| way.via)];
        if let Some(peer) = peer(first) {
            self.chosen.push([dest, peer]);
        }
        if self.table.len() <= dest as usize {
            self.table.resize(dest as usize + 1, [NO_WAY; 2]);
        }
        self.table[dest as usize] = row;
    }

    fn is_clearly_better(&self, cost: u64, kept: u64) -> bool {
        let margin = (kept.saturating_mul(self.margin_percent) / 100).max(self.margin_us);
        cost.saturating_add(margin) <= kept
    }

    fn cost_us(&self, view: &View, way: &Way) -> u64 {
        let lossy = Link { rtt_us: u32::MAX, ..Link::default() };
        let link = view.links.get(way.via as usize).unwrap_or(&lossy);
        let resent =
            (u64::from(link.rtt_us) * u64::from(link.loss_ppm)).saturating_mul(LOSS_WEIGHT) / 1_000_000;
        view.cost_us(way).saturating_add(resent)
    }
}

/// Returns each row's neighbour as a destination: the way that ends there names it.
fn peers(view: &View) -> Vec<Option<u32>> {
    let mut peers = vec![None; view.links.len()];
    for way in view.ways.iter().filter(|way| way.hops == 0) {
        if let Some(peer) = peers.get_mut(way.via as usize) {
            *peer = Some(way.dest);
        }
    }
    peers
}
