//! Routes like `latency` until it has decided on so many messages, then panics; for drills.

#[path = "../../latency/src/policy.rs"]
pub mod policy;

use mesh_sdk::routing::{Header, Routing, Verdict, View};
use mesh_sdk::{Refusal, Settings};

/// Works for a while, then panics, as often as it is started anew.
#[derive(Default)]
pub struct Faulty {
    inner: policy::Latency<0>,
    /// Messages it still decides on; not part of the state, so every instance begins anew.
    left: u64,
}

impl Routing for Faulty {
    const STATE_VERSION: u32 = policy::Latency::<0>::STATE_VERSION;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.left = settings.integer("works_for", 1_000, 0..=i64::MAX)? as u64;
        self.inner.configure(settings)
    }

    fn observe(&mut self, view: &View) {
        self.inner.observe(view);
    }

    fn route(&mut self, header: &Header) -> Verdict {
        self.left = self.left.checked_sub(1).expect("faulty has done its work");
        self.inner.route(header)
    }

    fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        self.inner.load(from_version, state)
    }
}

mesh_sdk::routing!(Faulty);

#[cfg(test)]
mod tests {
    use mesh_sdk::Class;
    use mesh_sdk::routing::Dest;

    use super::*;

    #[test]
    #[should_panic(expected = "faulty has done its work")]
    fn it_works_as_long_as_it_was_told_and_then_panics() {
        let mut policy = Faulty::default();
        policy.configure(Settings::from([("works_for", 2.into())])).unwrap();
        let header = Header { now_ms: 0, dest: Dest::Topic(1), ingress: None, size: 1, class: Class::Normal };

        assert_eq!(policy.route(&header), Verdict::Abstain);
        assert_eq!(policy.route(&header), Verdict::Abstain);
        policy.route(&header);
    }
}
