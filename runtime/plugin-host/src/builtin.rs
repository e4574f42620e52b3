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
/// `built-in/beacon` 0.1.0: tells where the node is and knows who is near.
pub const BEACON: &[u8] = built!("beacon");
/// `built-in/faulty` 0.1.0: routes like latency for a while, then traps; for drills.
pub const FAULTY: &[u8] = built!("faulty");

/// All of them.
pub const ALL: [&[u8]; 6] = [LATENCY, LATENCY_NEXT, CLASS_FAIR, STEADY, BEACON, FAULTY];
