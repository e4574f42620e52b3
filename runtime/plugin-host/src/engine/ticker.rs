//! The clock of the engine: one thread that ticks while guests run and rests while none does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::Thread;
use std::time::Duration;

/// Deadlines are counted in ticks of this length.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call after which the thread rests, so that an idle node wakes nobody.
const REST_AFTER: u32 = 100;

pub(super) struct Ticker {
    calls: Arc<Calls>,
    thread: Thread,
}

#[derive(Default)]
struct Calls {
    entered: AtomicU64,
    left: AtomicU64,
    resting: AtomicBool,
}

/// A guest is running; the clock ticks until this is dropped.
pub(crate) struct Running<'a>(&'a Calls);

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.left.fetch_add(1, SeqCst);
    }
}

impl Ticker {
    pub(super) fn start(engine: wasmtime::Engine) -> io::Result<Ticker> {
        let calls = Arc::new(Calls::default());
        let shared = calls.clone();
        let run = move || tick(&shared, || engine.increment_epoch());
        let thread = std::thread::Builder::new().name("plugin-ticker".into()).spawn(run)?;
        Ok(Ticker { calls, thread: thread.thread().clone() })
    }

    #[inline]
    pub(super) fn enter(&self) -> Running<'_> {
        self.calls.entered.fetch_add(1, SeqCst);
        // Sequentially consistent on both sides: either the ticker sees this call, or we see it resting.
        if self.calls.resting.load(SeqCst) {
            self.thread.unpark();
        }
        Running(&self.calls)
    }
}

fn tick(calls: &Calls, increment: impl Fn()) {
    let mut seen = 0;
    let mut quiet = 0;
    loop {
        let entered = calls.entered.load(SeqCst);
        let is_quiet = entered == seen && entered == calls.left.load(SeqCst);
        seen = entered;
        quiet = if is_quiet { quiet + 1 } else { 0 };
        if quiet > REST_AFTER {
            calls.resting.store(true, SeqCst);
            if calls.entered.load(SeqCst) == seen {
                std::thread::park();
            }
            calls.resting.store(false, SeqCst);
            quiet = 0;
        }
        std::thread::sleep(TICK);
        increment();
    }
}
