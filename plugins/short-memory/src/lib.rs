//! Keeps what is young and urgent, and lets no recipient take all the room. What will expire soon goes first in its class.

use std::collections::BTreeMap;

use mesh_sdk::carry::{Carry, REFUSE, Room, Run};
use mesh_sdk::{Class, Refusal, Settings};

/// What a run of each class is worth at least; the distance is [`SPAN`].
const WORTHS: [u8; 5] = [205, 155, 105, 55, 5];
/// What being about to expire adds, at most, so that no class overtakes another.
const SPAN: u32 = 49;
/// A run that has this long to live, in milliseconds, gets nothing of that.
const LONG_MS: u32 = 3_600_000;
const STATE: usize = 16;

/// The policy.
pub struct ShortMemory {
    most_age_ms: u32,
    share_percent: u64,
    least_class: Class,
    /// Bytes that this call has added to what waits, by recipient.
    added: BTreeMap<u32, u64>,
    kept: u64,
    refused: u64,
}

impl Default for ShortMemory {
    fn default() -> Self {
        ShortMemory {
            most_age_ms: 3_600_000,
            share_percent: 50,
            least_class: Class::Bulk,
            added: BTreeMap::new(),
            kept: 0,
            refused: 0,
        }
    }
}

impl Carry for ShortMemory {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.most_age_ms = settings.integer("most_age_s", 3_600, 1..=604_800)? as u32 * 1_000;
        self.share_percent = settings.integer("share_percent", 50, 1..=100)? as u64;
        let least = settings.text("least_class", "bulk")?;
        self.least_class = Class::from_name(&least).ok_or(Refusal::BadSetting("least_class".into()))?;
        settings.finish()
    }

    fn begin(&mut self, _room: &Room, _runs: &[Run]) {
        self.added.clear();
    }

    fn worth(&mut self, room: &Room, run: &Run) -> u8 {
        let added = self.added.get(&run.dest).copied().unwrap_or(0);
        let must_stay = run.is_own || run.is_durable || run.class == Class::Critical;
        if !must_stay && !self.takes(room, run, added) {
            self.refused = self.refused.saturating_add(1);
            return REFUSE;
        }
        self.kept = self.kept.saturating_add(1);
        self.added.insert(run.dest, added.saturating_add(run.bytes.into()));
        WORTHS[run.class as usize] + soon(run.left_ms)
    }

    /// Two counters, u64 each, little-endian: runs that were kept, runs that were refused.
    fn save(&self) -> Vec<u8> {
        [self.kept.to_le_bytes(), self.refused.to_le_bytes()].concat()
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        let state: &[u8; STATE] = state.try_into().map_err(|_| Refusal::BadState)?;
        let [kept, refused] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|n| state[at + n])));
        (self.kept, self.refused) = (kept, refused);
        Ok(())
    }
}

impl ShortMemory {
    /// Says whether somebody else's run is kept, where so many bytes were added for its recipient just now.
    fn takes(&self, room: &Room, run: &Run, added: u64) -> bool {
        let bytes = u64::from(run.waiting_bytes).saturating_add(added).saturating_add(run.bytes.into());
        let share = room.most_bytes_each / 100 * self.share_percent;
        run.class <= self.least_class && run.age_ms <= self.most_age_ms && bytes <= share
    }
}

/// Points for having little time left: all of them now, none with an hour to go.
fn soon(left_ms: u32) -> u8 {
    let left_s = left_ms.min(LONG_MS) / 1_000;
    (SPAN - left_s * SPAN / (LONG_MS / 1_000)) as u8
}

mesh_sdk::carry!(ShortMemory);

#[cfg(test)]
mod tests {
    use mesh_sdk::Value;

    use super::*;

    const ROOM: Room = Room {
        now_ms: 0,
        messages: 0,
        bytes: 0,
        most_bytes: 10_000,
        most_messages_each: 10,
        most_bytes_each: 1_000,
    };

    fn run(class: Class, bytes: u32) -> Run {
        Run { class, bytes, messages: 1, left_ms: LONG_MS, ..Run::default() }
    }

    fn ask(policy: &mut ShortMemory, runs: &[Run]) -> Vec<u8> {
        policy.begin(&ROOM, runs);
        runs.iter().map(|run| policy.worth(&ROOM, run)).collect()
    }

    #[test]
    fn urgent_ones_are_worth_more_and_within_a_class_those_that_expire_soon() {
        let soon = Run { left_ms: 999, ..run(Class::Low, 10) };
        let half = Run { left_ms: LONG_MS / 2, ..run(Class::Low, 10) };

        let worths = ask(
            &mut ShortMemory::default(),
            &[run(Class::Critical, 10), run(Class::Normal, 10), soon, half, run(Class::Low, 10)],
        );

        assert_eq!(worths, [205, 105, 104, 80, 55]);
    }

    #[test]
    fn others_may_take_their_share_of_a_recipients_room_and_own_ones_all_of_it() {
        let other = |dest, bytes| Run { dest, ..run(Class::Normal, bytes) };
        let waiting = Run { waiting_bytes: 401, ..other(3, 100) };
        let own = Run { is_own: true, ..other(1, 900) };
        let durable = Run { is_durable: true, ..other(1, 900) };

        let worths = ask(
            &mut ShortMemory::default(),
            &[other(1, 300), other(1, 201), other(1, 200), other(2, 500), waiting, own, durable],
        );

        assert_eq!(worths, [105, 0, 105, 105, 0, 105, 105]);
    }

    #[test]
    fn what_is_old_or_not_urgent_enough_is_refused_unless_it_is_critical() {
        let mut policy = ShortMemory::default();
        policy
            .configure(Settings::from([
                ("most_age_s", 10.into()),
                ("least_class", Value::Text("normal".into())),
            ]))
            .unwrap();
        let old = |class| Run { age_ms: 10_001, ..run(class, 10) };

        let worths = ask(
            &mut policy,
            &[run(Class::Normal, 10), run(Class::Low, 10), old(Class::High), old(Class::Critical)],
        );

        assert_eq!(worths, [105, 0, 0, 205]);
    }

    #[test]
    fn extreme_runs_neither_trap_nor_leave_the_range() {
        let most = Run {
            bytes: u32::MAX,
            age_ms: u32::MAX,
            left_ms: u32::MAX,
            waiting_bytes: u32::MAX,
            is_own: true,
            ..run(Class::Critical, 0)
        };
        let room = Room { most_bytes_each: u64::MAX, ..ROOM };
        let mut policy = ShortMemory::default();
        policy.begin(&room, &[]);

        for left_ms in [0, u32::MAX] {
            assert!(policy.worth(&room, &Run { left_ms, ..most }) >= 205);
        }
    }

    #[test]
    fn a_successor_goes_on_counting_and_damaged_state_is_refused() {
        let mut old = ShortMemory::default();
        ask(&mut old, &[run(Class::Normal, 10), run(Class::Normal, 999)]);
        let mut new = ShortMemory::default();
        new.load(1, &old.save()).unwrap();
        assert_eq!((new.kept, new.refused), (1, 1));

        for (version, state, want) in
            [(2, vec![0; 16], Refusal::UnknownVersion(2)), (1, vec![0; 17], Refusal::BadState)]
        {
            assert_eq!(new.load(version, &state), Err(want));
            assert_eq!(new.save(), old.save());
        }
    }

    #[test]
    fn a_setting_out_of_range_is_refused() {
        for (name, value) in [
            ("most_age_s", Value::Integer(0)),
            ("share_percent", Value::Integer(101)),
            ("least_class", Value::Text("urgent".into())),
        ] {
            let refused = ShortMemory::default().configure(Settings::from([(name, value)]));

            assert_eq!(refused, Err(Refusal::BadSetting(name.into())));
        }
    }
}
