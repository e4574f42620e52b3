//! Guests of wasm32-wasip2 run with a WASI that grants nothing, and all they can see comes from the call.

use std::io;
use std::sync::{Arc, Mutex};

use mesh_plugin_host::handler::{Effect, Event, Outcome};
use mesh_plugin_host::inspect::Needs;
use mesh_plugin_host::{
    Grants, HandlerSlot, Kv, LoadError, Loaded, PolicySet, PolicySlot, StartWith, inspect, limits, load,
    prepare_handler, prepare_routing,
};
use mesh_proto::policy::Policies;

use crate::guests::{NATIVE, ask, engine, settings, story, text, view, wasip2, wat};

/// What a guest finds that looks for a way out, but for the clock and randomness.
const NOTHING: &str = "environment 0\narguments 0\ndirectory false\nread false\nwrite false\nlist false\n\
                       dial false\nlisten false\ndatagrams false\nnames false\ninput Some(0)";

fn routing() -> Loaded {
    load(&engine(), &wasip2("wasi"), Grants::NONE).unwrap()
}

fn set_with(mode: &str) -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.observe(0, &view());
    let prepared = prepare_routing(&routing(), &settings([("mode", text(mode))])).unwrap();
    set.swap(prepared, 0, StartWith::Reset).unwrap();
    set.take_events();
    set
}

/// What the policy saw in its last batch.
fn seen(set: &mut PolicySet) -> String {
    let state = set.peek_state(PolicySlot::Route).unwrap().unwrap();
    String::from_utf8(state.bytes).unwrap()
}

fn line<'a>(seen: &'a str, of: &str) -> &'a str {
    seen.lines().find(|line| line.starts_with(of)).expect(of)
}

fn last_fault(set: &PolicySet) -> String {
    set.status(PolicySlot::Route).last_faults[0].fault.to_string()
}

/// W12.
#[test]
fn a_policy_of_wasip2_finds_no_file_no_socket_no_environment_and_the_time_of_the_call() {
    let mut set = set_with("");

    assert_eq!(ask(&mut set, 1_234_567, 4), 0);

    let seen = seen(&mut set);
    assert!(seen.ends_with(NOTHING), "{seen}");
    assert!(seen.starts_with("clock 1234567\nelapsed 0ns after"), "{seen}");
    assert_eq!(set.status(PolicySlot::Route).faults, 0);
}

/// W19: nothing but its arguments can change an answer.
#[test]
fn equal_calls_see_equal_randomness_and_other_calls_see_other() {
    let look = |now_ms| {
        let mut set = set_with("");
        ask(&mut set, now_ms, 1);
        seen(&mut set)
    };
    let (first, again, later) = (look(1_000), look(1_000), look(2_000));

    assert_eq!(first, again);
    assert_ne!(line(&first, "random"), line(&later, "random"));
    assert_eq!(line(&first, "hash"), line(&later, "hash"), "hash tables keep their key");
}

/// W12, W19 for handlers: the seed of the call decides, and the node it runs on.
#[test]
fn a_handler_of_wasip2_sees_the_seed_of_the_call() {
    let loaded = load(&engine(), &wasip2("wasi_handler"), Grants::NONE).unwrap();
    let look = |node: u8, seed| {
        let mut slot = HandlerSlot::new(&engine(), [node; 32], "ada", Kv::new());
        let prepared = prepare_handler(&loaded, slot.identity(), &settings([])).unwrap();
        slot.swap(prepared, 0, StartWith::Keep).unwrap();
        let event = Event::Command { name: "look".into(), payload: Vec::new() };
        let Outcome::Done(effects) = slot.handle(5_000, seed, event).outcome else { panic!("it fails") };
        let [Effect::Reply(seen)] = &effects[..] else { panic!("{effects:?}") };
        String::from_utf8(seen.clone()).unwrap()
    };

    let first = look(1, 7);

    assert!(first.starts_with("clock 5000\n") && first.ends_with(NOTHING), "{first}");
    assert_eq!(look(1, 7), first);
    assert_ne!(line(&look(1, 8), "random"), line(&first, "random"));
    assert_ne!(line(&look(2, 7), "random"), line(&first, "random"));
}

/// W08: what ends or waits costs one answer, and is told in words.
#[test]
fn exiting_waiting_and_panicking_cost_the_answer_and_say_why() {
    for (mode, want) in [
        ("exit", "it exits with"),
        ("sleep", "it waits, and time stands still during a call"),
        ("panic", "unreachable"),
    ] {
        let mut set = set_with(mode);

        assert_eq!(ask(&mut set, 1, 4), NATIVE, "{mode}");

        assert!(last_fault(&set).contains(want), "{mode}: {}", last_fault(&set));
        assert_eq!(story(&mut set), ["struck"], "{mode}");
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged while `act` runs.
fn logged(act: impl FnOnce()) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_a_guest_prints_is_logged_line_by_line_and_a_panic_tells_itself() {
    let mut set = set_with("print");
    let log = logged(|| assert!(ask(&mut set, 1, 1) <= NATIVE));

    for line in ["INFO", "one plugin=", "two plugin=", "WARN", "half a line plugin="] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
    let mut set = set_with("panic");
    assert!(logged(|| assert!(ask(&mut set, 1, 1) <= NATIVE)).contains("as asked plugin="));
}

/// W04: ten megabytes printed are sixteen lines of four kilobytes.
#[test]
fn a_flood_on_stdout_is_bounded() {
    let mut set = set_with("flood");

    let log = logged(|| assert!(ask(&mut set, 1, 1) <= NATIVE));

    let lines = log.lines().filter(|line| line.contains("xxx")).count();
    assert_eq!(lines, limits::LOG_LINES as usize, "{}", log.len());
    assert!(log.len() < 2 * limits::LOG_LINE_BYTES * limits::LOG_LINES as usize, "{}", log.len());
}

#[test]
fn inspection_says_which_imports_are_virtual_wasi() {
    let inspection = inspect(&wasip2("wasi")).unwrap();

    let wasi: Vec<_> = inspection.imports.iter().filter(|import| import.name.starts_with("wasi:")).collect();
    assert!(wasi.len() > 10, "{wasi:?}");
    assert!(wasi.iter().all(|import| import.needs == Needs::VirtualWasi), "{wasi:?}");
    assert!(!inspection.is_pure);
    assert!(inspection.findings(Grants::NONE).is_empty());
}

/// W12: the name of an interface is not enough, its functions must be those of WASI.
#[test]
fn an_import_that_only_looks_like_wasi_is_refused_or_answers_nothing() {
    let with = |import: &str| {
        let component = wat(&format!(
            "(component {import} (instance $x) (export \"mesh:routing/policy@0.1.0\" (instance $x)))"
        ));
        load(&engine(), &component, Grants::ALL).expect_err(import)
    };
    for import in [
        "(import \"wasi:clocks/monotonic-clock@0.2.0\" (instance (export \"now\" (func (result string)))))",
        "(import \"wasi:random/random@0.2.9\" (instance (export \"get-random-bytes\" (func))))",
        "(import \"wasi:cli/stdout@0.2.0\" (instance (export \"x\" (core module))))",
    ] {
        assert!(matches!(with(import), LoadError::WrongShape { .. }), "{import}: {}", with(import));
    }
    for import in [
        "(import \"wasi:cli/stdout@0.2.0\" (func))",
        "(import \"wasi:keyvalue/store@0.2.0\" (instance))",
        "(import \"wasi:clocks/wall-clock@0.3.0\" (instance))",
        "(import \"wasi:clocks/wall-clock\" (instance))",
    ] {
        assert!(matches!(with(import), LoadError::ForbiddenImport { .. }), "{import}: {}", with(import));
    }
}
