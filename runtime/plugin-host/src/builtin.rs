//! The plugins that come with the host: built from `plugins/` with this crate, and loaded like any other.

macro_rules! built {
    ($file:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".wasm"))
    };
}

/// `built-in/latency` 0.1.0: routes by measured latency with hysteresis.
pub const LATENCY: &[u8] = built!("latency");
/// `built-in/latency` 0.2.0: counts loss as well; takes over the state of 0.1.0 and the other way round.
pub const LATENCY_NEXT: &[u8] = built!("latency-next");
/// `built-in/class-fair` 0.1.0: five classes with fair shares.
pub const CLASS_FAIR: &[u8] = built!("class-fair");
/// `built-in/steady` 0.1.0: scores parents by how steady they are.
pub const STEADY: &[u8] = built!("steady");
/// `built-in/guest-list` 0.1.0: links to those whom its settings name, or who say the right thing of themselves.
pub const GUEST_LIST: &[u8] = built!("guest-list");
/// `built-in/short-memory` 0.1.0: keeps what is young and urgent, and lets no recipient take all the room.
pub const SHORT_MEMORY: &[u8] = built!("short-memory");
/// `built-in/beacon` 0.1.0: tells where the node is and knows who is near.
pub const BEACON: &[u8] = built!("beacon");
/// `built-in/faulty` 0.1.0: routes like latency for a while, then traps; for drills.
pub const FAULTY: &[u8] = built!("faulty");

/// All of them.
pub const ALL: [&[u8]; 8] =
    [LATENCY, LATENCY_NEXT, CLASS_FAIR, STEADY, GUEST_LIST, SHORT_MEMORY, BEACON, FAULTY];
