//! How much a handler publishes: what goes beyond is dropped, because a mesh must not drown in what one plugin says.

use super::Effect;
use crate::limits::{PUBLISHED_BYTES_PER_S, PUBLISHED_PER_S};

/// What was published in the second of now.
#[derive(Debug, Default)]
pub(super) struct Pace {
    second: u64,
    messages: u32,
    bytes: usize,
    /// Messages that were too many in that second.
    dropped: u64,
}

impl Pace {
    /// Takes out what is beyond the bounds; returns how many messages of a second that is over were dropped, once.
    pub(super) fn hold(&mut self, now_ms: u64, effects: &mut Vec<Effect>) -> u64 {
        let second = now_ms / 1_000;
        let told = if second == self.second { 0 } else { self.dropped };
        if second != self.second {
            *self = Pace { second, ..Pace::default() };
        }
        effects.retain(|effect| {
            let Effect::Publish { payload, .. } = effect else { return true };
            let fits = self.messages < PUBLISHED_PER_S && self.bytes + payload.len() <= PUBLISHED_BYTES_PER_S;
            match fits {
                true => {
                    self.messages += 1;
                    self.bytes += payload.len();
                }
                false => self.dropped += 1,
            }
            fits
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use mesh_proto::policy::Class;

    use super::*;

    fn publish(bytes: usize) -> Effect {
        Effect::Publish { topic: "t".into(), class: Class::Normal, ttl_ms: 1_000, payload: vec![0; bytes] }
    }

    #[test]
    fn what_is_beyond_the_pace_of_a_second_is_dropped_and_everything_else_stays() {
        let mut pace = Pace::default();
        let many = PUBLISHED_PER_S as usize + 5;
        let mut effects: Vec<Effect> = (0..many).map(|_| publish(1)).collect();
        effects.push(Effect::Reply(Vec::new()));

        assert_eq!(pace.hold(5_000, &mut effects), 0);

        assert_eq!(effects.len(), PUBLISHED_PER_S as usize + 1);
        assert_eq!(effects.last(), Some(&Effect::Reply(Vec::new())));
        let mut more = vec![publish(1)];
        assert_eq!((pace.hold(5_999, &mut more), more.len()), (0, 0));
        let mut next = vec![publish(1)];
        assert_eq!(
            (pace.hold(6_000, &mut next), next.len()),
            (6, 1),
            "a new second, and it says what it dropped"
        );
        assert_eq!(pace.hold(7_000, &mut Vec::new()), 0, "once");
    }

    #[test]
    fn bytes_are_bounded_as_messages_are() {
        let mut pace = Pace::default();
        let mut effects: Vec<Effect> = (0..20).map(|_| publish(64 << 10)).collect();

        pace.hold(0, &mut effects);

        assert_eq!(effects.len(), PUBLISHED_BYTES_PER_S / (64 << 10));
    }
}
