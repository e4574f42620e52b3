//! Every bound that the host sets for plugins, with where the number comes from.

use std::time::Duration;

/// Bytes of a component. Components of interpreted languages reach 18 MB; policies in Rust have 20 KB.
pub const COMPONENT_BYTES: usize = 32 << 20;
/// Bytes of a package: a component, its manifest and eight statements with their lengths.
pub const PACKAGE_BYTES: usize = COMPONENT_BYTES + (128 << 10);
/// Bytes of a component from which on the operator has to ask for it by name: it brings an interpreter along, and
/// compiling it keeps a core busy for seconds. JavaScript in QuickJS has 1.1 MB, Python 18 MB.
pub const LARGE_BYTES: usize = 4 << 20;
/// Seconds of CPU that compiling a small foreign component may take; faults.md W15. A policy of 40 KB takes 0.1.
pub const COMPILE_CPU_S: u64 = 2;
/// Seconds of CPU more for each MiB of the component. Interpreters take 1.2 to 2.5 (measured).
pub const COMPILE_CPU_S_PER_MIB: u64 = 4;
/// Seconds of CPU that compiling may take, however large the component.
pub const COMPILE_CPU_S_MOST: u64 = 60;
/// Bytes of address space that the process that compiles a small component may have; faults.md W15.
pub const COMPILE_MEMORY: u64 = 512 << 20;
/// Bytes of address space more for each MiB of the component.
pub const COMPILE_MEMORY_PER_MIB: u64 = 64 << 20;
/// Bytes of address space that compiling may have, however large the component.
pub const COMPILE_MEMORY_MOST: u64 = 2 << 30;
/// Bytes of compiled code, which is up to ten times its component.
pub const COMPILED_BYTES: u64 = 256 << 20;
/// Bytes of all entries of a compile cache, and how many there may be; beyond either, what was used longest ago goes. Twice
/// the largest entry, so that none is without room; a small policy has 100 KB, an interpreter up to 100 MB.
pub const CACHE_BYTES: u64 = 2 * COMPILED_BYTES;
/// See [`CACHE_BYTES`].
pub const CACHE_ENTRIES: usize = 256;
/// Bytes of all linear memories of one instance; faults.md section 3.
pub const MEMORY_BYTES: usize = 16 << 20;
/// Elements of all tables of one instance; faults.md section 3.
pub const TABLE_ELEMENTS: usize = 10_000;
/// Core instances, tables and memories of one component: a module and the encoder's shims are three, and Python brings
/// its libraries as instances of their own.
pub const CORE_ITEMS: usize = 64;
/// Resource handles of one instance. Our interfaces have none.
pub const HANDLES: usize = 64;

/// Time for one hot-path call; faults.md section 3. Steady calls take microseconds.
pub const POLICY_CALL: Duration = Duration::from_millis(5);
/// Time for one event of a handler; faults.md section 3.
pub const HANDLER_CALL: Duration = Duration::from_millis(50);
/// Time to instantiate, configure, self-test and take over state off the hot path; faults.md section 3.
pub const SETUP: Duration = Duration::from_secs(1);

/// Instructions that stand for a millisecond where calls are metered: about what a slow core runs in one, so
/// that what is in time there is in time on a node.
pub const FUEL_PER_MS: u64 = 1_000_000;

/// Rows of one batch. Larger ones are answered by the native built-in and cost nobody a strike.
pub const BATCH_ROWS: usize = 1 << 16;
/// Neighbours, and ways, of one view that a plugin is shown.
pub const VIEW_ROWS: usize = 1 << 16;
/// Labels of one visitor that a plugin is shown; a record has 16.
pub const VISITOR_LABELS: usize = 64;
/// Bytes of one visitor's name and labels together; in a record they have 1,088, and three times that where they are no
/// text.
pub const VISITOR_BYTES: usize = 4 << 10;
/// Bytes of a saved state. At 1 MiB the hand-over takes 1.4 ms (measured).
pub const STATE_BYTES: usize = 1 << 20;
/// Bytes that one answer may make the host allocate, columns and lists together: twice the largest state.
pub const ANSWER_BYTES: usize = 2 << 20;
/// Bytes of one payload, notice or reply of a handler; faults.md section 3, output.
pub const EFFECT_BYTES: usize = 64 << 10;
/// Bytes of a message or a command that a handler is given.
pub const EVENT_BYTES: usize = 1 << 20;
/// Effects of one call of a handler.
pub const EFFECTS: usize = 256;
/// Messages that a handler may publish a second, four full answers; the others are dropped and counted; faults.md W11.
pub const PUBLISHED_PER_S: u32 = 1_024;
/// Bytes of the messages that a handler may publish a second.
pub const PUBLISHED_BYTES_PER_S: usize = 1 << 20;
/// Bytes of a topic, key, notice kind or command name; faults.md section 3, topic name.
pub const NAME_BYTES: usize = 256;
/// Keys of a handler's private store.
pub const KV_KEYS: usize = 1024;
/// Bytes of a handler's private store, keys and values together.
pub const KV_BYTES: usize = 1 << 20;
/// Host calls that one event may make; faults.md W04.
pub const HOST_CALLS: u32 = 10_000;
/// Bytes of one log line; faults.md section 3.
pub const LOG_LINE_BYTES: usize = 4 << 10;
/// Log lines of one call; the others are dropped.
pub const LOG_LINES: u32 = 16;
/// Log lines of a slot's plugin a second; the others are counted only.
pub const LOG_LINES_PER_S: u32 = 1_000;
/// Bytes of log lines of a slot's plugin a second; faults.md section 3.
pub const LOG_BYTES_PER_S: usize = 64 << 10;
/// Lines that a slot keeps for its operator.
pub const LOG_KEPT_LINES: usize = 1_024;
/// Bytes of the lines that a slot keeps for its operator.
pub const LOG_KEPT_BYTES: usize = 256 << 10;

/// Strikes within [`STRIKE_WINDOW_MS`] that quarantine a revision.
pub const STRIKES: usize = 3;
/// The window of [`STRIKES`], in milliseconds.
pub const STRIKE_WINDOW_MS: u64 = 60_000;
/// Milliseconds until a quarantined revision is tried again, the first time; each further time twice as long.
pub const QUARANTINE_FIRST_MS: u64 = 60_000;
/// The longest of these waits.
pub const QUARANTINE_LONGEST_MS: u64 = 3_600_000;
/// Tries in a row that end in a quarantine again; after that, only an operator ends it.
pub const QUARANTINE_TRIES: u32 = 8;
/// Milliseconds without another quarantine that make the next one count as the first.
pub const QUARANTINE_FORGOTTEN_MS: u64 = 1_800_000;
/// Events of a slot that wait to be fetched; beyond that the oldest are dropped and counted.
pub const EVENTS: usize = 256;
/// Faults that a slot remembers for its operator.
pub const FAULTS: usize = 16;
/// Revisions of a slot that are counted apart, the native built-in among them: the active one, the one that stands by, the
/// one in quarantine, and a few before, at 2 KiB each.
pub const COUNTED_REVISIONS: usize = 8;
/// Milliseconds between two checkpoints of a running plugin's state, which a fresh instance gets after a
/// trap.
pub const CHECKPOINT_MS: u64 = 1_000;
/// The same for state above [`CHECKPOINT_SMALL`], whose saving takes up to a millisecond.
pub const CHECKPOINT_LARGE_MS: u64 = 30_000;
/// Bytes up to which state is checkpointed every [`CHECKPOINT_MS`].
pub const CHECKPOINT_SMALL: usize = 64 << 10;
/// Discarded instances that wait to be freed; beyond that they are freed at once.
pub const REAPER_QUEUE: usize = 64;

/// Calls that a shadow run may be behind; beyond it calls are skipped and counted.
pub const TRIAL_CALLS: usize = 64;
/// Messages in these calls, about 20 bytes each.
pub const TRIAL_ROWS: u64 = 1 << 16;
/// A shadow run takes one part in so many of a processor, at most.
pub const TRIAL_SHARE: u32 = 4;
/// Differences that a trial keeps as examples.
pub const TRIAL_EXAMPLES: usize = 8;
/// Differences of a stage that are put into words to find examples that are not alike.
pub const TRIAL_WORDED: usize = 256;
/// Decisions and calls from which on a canary's shares and times are judged while it runs.
pub const TRIAL_JUDGED: u64 = 100;
/// Milliseconds that a stage of a trial may take: a day.
pub const TRIAL_MS: u64 = 24 * 60 * 60 * 1_000;

/// Bytes of the journal of one slot: at 1,000 messages a second of many flows the last two minutes, of one flow
/// several times that. The system provides the memory as it is written to.
pub const JOURNAL_BYTES: usize = 4 << 20;
/// Bytes of what a handler is told in one event, and again of all that it answers, that its journal keeps as they are;
/// of more it keeps the hash. A beacon has a few hundred.
pub const JOURNAL_PAYLOAD_BYTES: usize = 64 << 10;
/// Bytes of a handler's store that its journal writes down where an instance begins; with more, a replay cannot begin
/// there. Where the running one is only saved, they are [`CHECKPOINT_SMALL`].
pub const JOURNAL_KV_BYTES: usize = 512 << 10;
