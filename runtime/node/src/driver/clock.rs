//! The one place of a node that reads clocks.

use std::time::{Duration, Instant, SystemTime};

use mesh_proto::time::Now;

/// Both clocks, the monotonic one from the node's start on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { instant: mesh_proto::time::Instant(micros), unix_ms: unix_ms() }
    }

    pub(crate) fn at(&self, instant: mesh_proto::time::Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start) + Duration::from_micros(instant.0)
    }
}

/// Returns milliseconds since 1970; a clock before that reads 0.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the time that this process has had on processors since its start.
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}
