//! Keeps what is young and small; of that, the urgent and the short-lived goes first.

use mesh_sdk::carry::{Carry, REFUSE, Room, Run};
use mesh_sdk::{Class, Refusal, Settings};

/// What a class is worth, most urgent first, and what is added when there is little time left.
const WORTHS: [u8; 5] = [250, 200, 150, 100, 50];
const SOON: u8 = 40;

/// What is kept of what strangers write, and what goes before others of its class.
pub struct Policy {
    max_age_ms: u64,
    max_bytes: u64,
    soon_ms: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { max_age_ms: 3_600_000, max_bytes: 64 << 10, soon_ms: 60_000 }
    }
}

impl Carry for Policy {
    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.max_age_ms = settings.integer("max_age_s", 3600, 1..=604_800)? as u64 * 1000;
        self.max_bytes = settings.integer("max_kib", 64, 1..=65_536)? as u64 * 1024;
        self.soon_ms = settings.integer("soon_s", 60, 0..=604_800)? as u64 * 1000;
        settings.finish()
    }

    fn worth(&mut self, _: &Room, run: &Run) -> u8 {
        // What the host keeps anyway.
        let must_stay = run.is_own || run.is_durable || run.class == Class::Critical;
        let is_too_old = u64::from(run.age_ms) > self.max_age_ms;
        let is_too_large = u64::from(run.bytes) > self.max_bytes;
        if !must_stay && (is_too_old || is_too_large) {
            return REFUSE;
        }
        let soon = if u64::from(run.left_ms) <= self.soon_ms { SOON } else { 0 };
        WORTHS[run.class as usize].saturating_add(soon)
    }
}

mesh_sdk::carry!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u32 = 3_600_000;

    fn worth(run: Run) -> u8 {
        Policy::default().worth(&Room::default(), &run)
    }

    #[test]
    fn what_is_urgent_or_expires_soon_goes_first() {
        for (class, left_ms, want) in [
            (Class::Critical, HOUR, 250),
            (Class::Normal, HOUR, 150),
            (Class::Normal, 60_000, 190),
            (Class::Critical, 1, 255),
        ] {
            let got = worth(Run { class, left_ms, ..Run::default() });

            assert_eq!(got, want, "{class:?}, {left_ms} ms left");
        }
    }

    #[test]
    fn what_strangers_wrote_is_refused_when_it_is_too_old_or_too_large() {
        let run = |age_ms, bytes| Run { age_ms, bytes, left_ms: HOUR, ..Run::default() };

        for (run, is_refused) in [
            (run(HOUR, 65_536), false),
            (run(HOUR + 1, 0), true),
            (run(0, 65_537), true),
            (Run { is_own: true, ..run(HOUR + 1, 0) }, false),
            (Run { is_durable: true, ..run(0, 65_537) }, false),
            (Run { class: Class::Critical, ..run(HOUR + 1, 0) }, false),
        ] {
            assert_eq!(worth(run) == REFUSE, is_refused, "{run:?}");
        }
    }
}
