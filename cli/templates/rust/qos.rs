//! What is large or late steps back by one class, and nothing else changes.

use mesh_sdk::qos::{Header, Qos};
use mesh_sdk::{Class, Refusal, Settings};

/// From which size and age on a message steps back.
pub struct Policy {
    large_bytes: u64,
    late_ms: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { large_bytes: 64 << 10, late_ms: 60_000 }
    }
}

impl Qos for Policy {
    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.large_bytes = settings.integer("large_kib", 64, 1..=1_048_576)? as u64 * 1024;
        self.late_ms = settings.integer("late_s", 60, 1..=86_400)? as u64 * 1000;
        settings.finish()
    }

    fn classify(&mut self, header: &Header) -> Option<Class> {
        let is_large = u64::from(header.size) > self.large_bytes;
        let is_late = u64::from(header.age_ms) > self.late_ms;
        match header.class {
            Class::Critical => Some(Class::Critical),
            class if is_large || is_late => Some(class.demoted()),
            class => Some(class),
        }
    }
}

mesh_sdk::qos!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    fn class(class: Class, size: u32, age_ms: u32) -> Option<Class> {
        Policy::default().classify(&Header { now_ms: 0, class, size, age_ms, tag: 0 })
    }

    #[test]
    fn what_is_large_or_late_steps_back_by_one_class() {
        for (size, age_ms, want) in [
            (65_536, 60_000, Class::Normal),
            (65_537, 0, Class::Low),
            (0, 60_001, Class::Low),
            (u32::MAX, u32::MAX, Class::Low),
        ] {
            assert_eq!(class(Class::Normal, size, age_ms), Some(want), "{size} bytes, {age_ms} ms");
        }
    }

    #[test]
    fn critical_stays_and_bulk_has_nowhere_to_step() {
        for stays in [Class::Critical, Class::Bulk] {
            assert_eq!(class(stays, u32::MAX, u32::MAX), Some(stays));
        }
    }
}
