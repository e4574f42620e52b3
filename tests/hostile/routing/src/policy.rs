//! The policy and its modes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::hint::black_box;

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/routing"],
    world: "mesh:routing/routing",
    generate_all,
});

use exports::mesh::routing::policy::{Batch, Guest, Links, Refusal, Setting, Ways};
use mesh::types::common::Value;

struct Hostile;
export!(Hostile);

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    static LEFT: Cell<i64> = const { Cell::new(0) };
    static COUNTER: Cell<u64> = const { Cell::new(0) };
    static SLOW: Cell<Slow> = const { Cell::new(Slow::Nothing) };
}

/// What the allocator does.
#[derive(Clone, Copy, PartialEq)]
enum Slow {
    Nothing,
    Alloc,
    Dealloc,
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: hands every call on to the system's allocator, if at all.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if SLOW.get() == Slow::Alloc && is_column(layout) {
            forever();
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if SLOW.get() == Slow::Dealloc && is_column(layout) {
            forever();
        }
        unsafe { System.dealloc(at, layout) }
    }
}

/// Columns of numbers, not the bytes of a state: those are saved in between.
fn is_column(layout: Layout) -> bool {
    layout.align() == 4
}

pub fn forever() {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn is(mode: &str) -> bool {
    MODE.with_borrow(|now| now == mode)
}

/// Does what can go wrong in every call when the mode is `what-call`.
fn misbehave(call: &str) {
    let what = MODE.with_borrow(|mode| {
        mode.strip_suffix(call).and_then(|what| what.strip_suffix('-')).map(String::from)
    });
    match what.as_deref() {
        Some("loop") => forever(),
        Some("trap") => panic!("as asked"),
        Some("overflow") => drop(black_box(recurse(1))),
        Some("grow") => exhaust(),
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    recurse(depth + 1) + black_box(frame[depth as usize % 512])
}

/// Asks for all memory there is, first at once and then bit by bit.
fn exhaust() {
    let refused = core::arch::wasm32::memory_grow(0, 65_535);
    assert_eq!(refused, usize::MAX, "4 GiB were granted");
    while core::arch::wasm32::memory_grow(0, 1) != usize::MAX {}
    // There is none left, and whoever asks for more is ended.
    black_box(vec![1u8; 32 << 20]);
}

impl Guest for Hostile {
    fn configure(settings: Vec<Setting>) -> Result<(), Refusal> {
        for setting in settings {
            match (setting.name.as_str(), setting.value) {
                ("mode", Value::Text(mode)) => MODE.set(mode),
                ("after", Value::Integer(after)) => LEFT.set(after),
                (name, _) => return Err(Refusal::UnknownSetting(name.into())),
            }
        }
        misbehave("configure");
        Ok(())
    }

    fn observe(_now_ms: u64, _links: Links, _ways: Ways) {
        if LEFT.get() < 0 {
            misbehave("observe");
        }
    }

    fn decide(_now_ms: u64, batch: Batch) -> Vec<u32> {
        let rows = batch.dest.len();
        LEFT.set(LEFT.get() - 1);
        if LEFT.get() < 0 {
            misbehave("decide");
            match MODE.with_borrow(String::clone).as_str() {
                "huge-answer" => return vec![0; 1_500_000],
                "short-answer" => return vec![0; rows - 1],
                "long-answer" => return vec![0; rows + 1],
                "no-answer" => return Vec::new(),
                "unknown-neighbour" => return vec![1_000; rows],
                _ => {}
            }
            if is("loop-realloc") {
                // Lowering the next batch never ends.
                let answer = vec![0; rows];
                SLOW.set(Slow::Alloc);
                return answer;
            }
            if is("loop-post-return") {
                let answer = vec![0; rows];
                SLOW.set(Slow::Dealloc);
                // What is freed first is the answer, in post-return.
                std::mem::forget(batch);
                return answer;
            }
        }
        COUNTER.set(COUNTER.get() + rows as u64);
        vec![0; rows]
    }

    fn state_version() -> u32 {
        1
    }

    fn save() -> Vec<u8> {
        misbehave("save");
        match is("huge-state") && COUNTER.get() > 0 {
            true => vec![0; (1 << 20) + 1],
            false => COUNTER.get().to_le_bytes().to_vec(),
        }
    }

    fn load_state(from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        let is_own_blank = state == [0; 8];
        if !is_own_blank {
            misbehave("load");
        }
        if is("refuse-state") && !is_own_blank || is("refuse-own-state") {
            return Err(Refusal::UnknownVersion(from_version));
        }
        // Also from `latency`, whose counter comes first.
        let counter = state.first_chunk::<8>().ok_or(Refusal::BadState)?;
        COUNTER.set(u64::from_le_bytes(*counter));
        Ok(())
    }
}
