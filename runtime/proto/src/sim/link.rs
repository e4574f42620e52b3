//! Links: what is under way in each direction, and the list of all of them. Knows no nodes.

use bytes::Bytes;

use super::model::Weather;
use crate::id::Peer;
use crate::time::Instant;

/// Lanes of a link: control and the five classes.
pub(super) const LANES: usize = 6;
/// Bytes that a side sends on while no acknowledgement comes back, because the way is cut or the other side
/// frozen: about what a congestion window has.
pub(super) const BLIND_BYTES: usize = 64 * 1024;

/// One direction of a link.
#[derive(Default)]
pub(super) struct Pipe {
    /// Its number in the table of models.
    pub(super) model: u32,
    /// The link sends until then.
    pub(super) busy_until: Instant,
    /// When the last chunk of each lane arrives: nothing overtakes within a lane.
    pub(super) last: [Instant; LANES],
    /// Nothing arrives before: what was held up goes first.
    pub(super) held_until: Instant,
    /// Since when nothing arrives, because the way is cut.
    pub(super) cut: Option<Instant>,
    /// Nothing arrives any more, whatever happens: the link is closed, or too many probes were lost.
    pub(super) is_dead: bool,
    /// No acknowledgement comes back now.
    pub(super) is_blind: bool,
    /// An event will ask for more.
    pub(super) is_polling: bool,
    /// Bytes sent since it is blind.
    pub(super) blind: usize,
    pub(super) weather: Weather,
    /// Chunks whose arrival was due while nothing could arrive, oldest first.
    pub(super) late: Vec<(u8, Vec<Bytes>)>,
}

/// Frames of one lane that were sent together and are under way.
#[derive(Default)]
pub(super) struct Chunks {
    slots: Vec<Vec<Bytes>>,
    free: Vec<u32>,
}

impl Chunks {
    pub(super) fn insert(&mut self, frames: Vec<Bytes>) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = frames;
                index
            }
            None => {
                self.slots.push(frames);
                self.slots.len() as u32 - 1
            }
        }
    }

    pub(super) fn take(&mut self, index: u32) -> Vec<Bytes> {
        self.free.push(index);
        std::mem::take(&mut self.slots[index as usize])
    }
}

/// One end of a link.
pub(super) struct Side {
    pub(super) host: u32,
    pub(super) peer: Peer,
    /// This end is closed; the other may not know.
    pub(super) is_gone: bool,
    /// What this end sends.
    pub(super) out: Pipe,
}

pub(super) struct Link {
    pub(super) sides: [Side; 2],
    /// It was closed by an admission policy, and the far end is told so.
    pub(super) is_refused: bool,
}

/// Which link; one that is gone is never found under it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkRef {
    index: u32,
    generation: u32,
}

/// One end of a link, as its host sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) peer: Peer,
    pub(super) link: LinkRef,
    /// Which of the two sides this host is.
    pub(super) side: usize,
    /// The link takes nothing now. Kept in the list of its host only.
    pub(super) is_shut: bool,
}

impl End {
    pub(super) fn new(peer: Peer, link: LinkRef, side: usize) -> End {
        End { peer, link, side, is_shut: false }
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    link: Option<Link>,
}

/// All links.
#[derive(Default)]
pub(super) struct Links {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Links {
    pub(super) fn insert(&mut self, link: Link) -> LinkRef {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.link = Some(link);
        LinkRef { index, generation: slot.generation }
    }

    pub(super) fn get(&self, link: LinkRef) -> Option<&Link> {
        let slot = &self.slots[link.index as usize];
        slot.link.as_ref().filter(|_| slot.generation == link.generation)
    }

    pub(super) fn get_mut(&mut self, link: LinkRef) -> Option<&mut Link> {
        let slot = &mut self.slots[link.index as usize];
        let generation = slot.generation;
        slot.link.as_mut().filter(|_| generation == link.generation)
    }

    pub(super) fn remove(&mut self, link: LinkRef) {
        if self.get(link).is_some() {
            let slot = &mut self.slots[link.index as usize];
            slot.link = None;
            slot.generation += 1;
            self.free.push(link.index);
        }
    }

    /// Returns all links in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkRef, &Link)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| {
            let link = LinkRef { index: index as u32, generation: slot.generation };
            slot.link.as_ref().map(|found| (link, found))
        })
    }
}

impl Pipe {
    /// Returns when the last of what is under way arrives.
    pub(super) fn last_arrival(&self) -> Instant {
        self.last.iter().copied().max().unwrap_or_default()
    }

    /// Says whether it takes nothing from the queue now, given how far it may be ahead.
    pub(super) fn is_full(&self, ahead: Instant) -> bool {
        self.busy_until > ahead || (self.is_blind && self.blind >= BLIND_BYTES)
    }
}

impl Link {
    /// Looks again whether acknowledgements come back to this side, given whether the other end reads.
    pub(super) fn look_again(&mut self, from: usize, reads: bool) {
        let other = &self.sides[1 - from];
        let is_broken = other.is_gone || other.out.cut.is_some() || other.out.is_dead;
        let pipe = &mut self.sides[from].out;
        pipe.is_blind = !reads || is_broken || pipe.cut.is_some() || pipe.is_dead;
        pipe.blind = if pipe.is_blind { pipe.blind } else { 0 };
    }

    /// Everything under way is lost.
    pub(super) fn lose(&mut self) {
        for side in &mut self.sides {
            side.out.is_dead = true;
            side.out.late.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let side = || Side { host: 0, peer: Peer(0), is_gone: false, out: Pipe::default() };
        Link { sides: [side(), side()], is_refused: false }
    }

    #[test]
    fn a_removed_link_is_not_found_when_its_place_is_taken() {
        let mut links = Links::default();
        let first = links.insert(link());
        links.remove(first);
        links.remove(first);

        let second = links.insert(link());

        assert!(links.get(first).is_none() && links.get_mut(first).is_none());
        assert!(links.get(second).is_some());
        assert_eq!(links.iter().count(), 1);
    }
}
