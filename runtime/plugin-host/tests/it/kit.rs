//! The kit of hostile plugins: what comes of each, and that its slot goes on answering. A plugin of the kit without
//! an expectation does not compile. features.md 3.2, 3.4 and part 4, number 7.

use mesh_hostile::{Hostile, Shape};
use mesh_plugin_host::handler::{Effect, Event, Outcome};
use mesh_plugin_host::{
    Fault, Grants, HandlerSlot, Kv, Loaded, PolicySet, PolicySlot, SlotState, SlotStatus, StartWith, builtin,
    limits, load, prepare_admission, prepare_carry, prepare_handler, prepare_qos, prepare_routing,
    prepare_topology,
};
use mesh_proto::NodeId;
use mesh_proto::policy::{
    Approach, CarryBatch, Class, DROP, HOLD, LOCAL, Load, Place, Policies, QosBatch, Room, RouteBatch,
    Shares, Visitor,
};

use crate::guests::{engine, settings, view};
use crate::topology::{ASKER, candidates};

/// Calls within which a plugin that fails at all has failed three times.
const CALLS: u64 = 60;
/// Milliseconds from call to call: each is followed by a checkpoint, and all lie in the window of strikes.
const STEP_MS: u64 = 900;
/// What the built-in answers to [`batch`] in [`view`].
const BUILT_IN: [u32; 4] = [1, 1, HOLD, HOLD];

type Is = fn(&Fault) -> bool;

/// What must come of a plugin.
enum Expected {
    /// `load` refuses it with this code.
    Refused(&'static str),
    /// It fails its rehearsal with this code, and is never bound.
    Unready(&'static str),
    /// It fails in calls: each is answered by the built-in, the third ends its time.
    Struck(Is),
    /// It decides, and this is all that it can do.
    Routes([u32; 4]),
    /// It classifies so; what it says of shares is clamped.
    Classifies([u8; 2]),
    /// It says that candidates are as good.
    Scores([u32; 2]),
    /// It answers so whether there may be links.
    Admits([bool; 2]),
    /// It says that waiting runs are worth so much.
    Carries([u8; 2]),
    /// It does what it was asked, with these effects.
    Does(fn(&[Effect]) -> bool),
}

fn late(fault: &Fault) -> bool {
    matches!(fault, Fault::Deadline { .. })
}

fn trap(fault: &Fault) -> bool {
    matches!(fault, Fault::Trap { .. })
}

fn too_much(fault: &Fault) -> bool {
    matches!(fault, Fault::TooMuch { .. } | Fault::StateTooLarge { .. })
}

fn rows(fault: &Fault) -> bool {
    matches!(fault, Fault::Rows { .. })
}

fn unknown(fault: &Fault) -> bool {
    matches!(fault, Fault::UnknownNeighbour { .. } | Fault::UnknownClass { .. })
}

fn effect(fault: &Fault) -> bool {
    matches!(fault, Fault::Effect { .. })
}

/// No wildcard: what joins the kit must be decided on here.
fn expected(plugin: Hostile) -> Expected {
    use Expected::{Admits, Carries, Classifies, Does, Refused, Routes, Scores, Struck, Unready};
    use Hostile::*;
    match plugin {
        // Not WebAssembly that this host runs.
        ManagedTypes | SharedMemory | Throws => Refused("MESH-P103"),
        // W12: imports that nobody can have.
        WantsAComponent | WantsAHandlersStore | WantsAModule | WantsTheNetwork => Refused("MESH-P104"),
        // No interface of a slot, or another shape than the slot calls.
        AnotherWorld | Empty | Hollow | OneFunctionMissing | WrongSignature => Refused("MESH-P105"),
        // W05: more than the host gives.
        ManyImports | ManyInstances | ManyMemories | ManyTables | MuchMemory | MuchTable | WideMemory => {
            Refused("MESH-P106")
        }
        AnotherVersion => Refused("MESH-P107"),
        // A manifest that lies.
        TwoManifests => Refused("MESH-P116"),
        // W02: what happens at the start.
        CallsItself | DataOutOfBounds | LoopInStart | RecursionInStart | TableOutOfBounds | TrapInStart => {
            Refused("MESH-P112")
        }
        ConfigureAnswersALongName => Unready("MESH-P111"),
        // H03, W02, W07: found before it is bound.
        AnswerAtOddAddress
        | AnswerBehindMemory
        | ConfigureAnswersNoText
        | ConfigureAnswersUnknownCase
        | LoopInConfigure
        | LoopInLoad
        | LoopInObserve
        | ReallocOutOfBounds
        | ReallocTraps
        | ReallocUnaligned
        | SharesTooMany
        | StateOutOfBounds
        | StateRefused
        | StateTooLarge
        | TrapInConfigure => Unready("MESH-P112"),
        // W01, W02: stopped in time.
        FillMemoryForEver | LoopByTailCalls | LoopInDecide | LoopInPostReturn | LoopInRealloc
        | LoopInSave => Struck(late),
        // W05, W06, W08.
        CallOfWrongType
        | DivideByZero
        | LeakMemory
        | ReadOutOfBounds
        | Recursion
        | RecursionThroughATable
        | RecursionWithLargeFrames
        | TrapEachThird
        | TrapInDecide
        | TrapInPostReturn => Struck(trap),
        // W07: answers are read as if they came from the network.
        AnswerAllRows | AnswerOutOfBounds | AnswerTwoGigabytes | AnswerUnaligned => Struck(trap),
        AnswerMegabytes => Struck(too_much),
        StateGrows => Struck(|fault| too_much(fault) || trap(fault)),
        AnswerNothing | AnswerOneRowLess | AnswerOneRowMore | ClassesTooFew => Struck(rows),
        // W09, W10: who and what does not exist.
        AnswerLargestNeighbour | AnswerUnknownNeighbour | UnknownClass => Struck(unknown),
        // W10: what is above the highest counts as the highest; that is whose question it was.
        ScoreAboveTheHighest => Scores([u32::MAX; 2]),
        ScoreOneRowLess => Struck(rows),
        ScoreBehindMemory | ScoreTwoGigabytes | TrapInScore => Struck(trap),
        LoopInScore => Struck(late),
        // A bool is what is not 0.
        AdmitEverybody => Admits([true; 2]),
        AdmitNobody => Admits([false; 2]),
        // What must be kept is kept whatever it says: that is the core's.
        CarryNothing => Carries([0; 2]),
        AdmitOneRowLess | CarryOneRowMore => Struck(rows),
        AdmitBehindMemory | AdmitTwoGigabytes | CarryTwoGigabytes | TrapInAdmit | TrapInCarry => Struck(trap),
        LoopInAdmit | LoopInCarry => Struck(late),
        // Handlers: W04, W07, and calls at times when none are allowed.
        EffectUnknown | EffectsWithoutNumber | HostCallInPostReturn | HostCallInRealloc
        | KvAnswerOutOfBounds | KvFlood | LogNoText | LogTwoGigabytes | LogUnknownLevel | LogWithoutEnd
        | PublishUnknownClass | SubscribeInNoText => Struck(trap),
        EffectsTooMany | PublishTooMuch | PutUnderALongKey | PutUnderNoKey | ReplyTwice => Struck(effect),
        // It may say so; the core's clamps are what keeps it from harm.
        AwayFromTheWay | GrowMemories | GrowMemory | GrowTable | LeavesASecret | ReallocNull
        | StateShowsAFloat | StateShowsMemory => Routes([0; 4]),
        BackToTheSender => Routes([LOCAL, 0, 1, 1]),
        DropEverything => Routes([DROP; 4]),
        HoldEverything => Routes([HOLD; 4]),
        AllCritical | SharesOfEverything | SharesOfNothing | StarvesCritical => Classifies([0; 2]),
        DropsCritical => Classifies([255; 2]),
        KvKeyOfAMegabyte | LogAMegabyte | LogFlood | LogForgesALine => Does(<[Effect]>::is_empty),
        // W11: the host's pace is what bounds it, and each call is within what one may say.
        PublishToEveryoneNow => Does(|effects| effects.len() == limits::EFFECTS),
        PutAPath => {
            Does(|effects| matches!(effects, [Effect::Put { key, .. }] if key == "../../../etc/passwd"))
        }
    }
}

#[test]
fn every_hostile_routing_policy_comes_to_its_end_and_messages_go_on() {
    of_shape(Shape::Routing);
}

#[test]
fn every_hostile_qos_policy_comes_to_its_end_and_messages_go_on() {
    of_shape(Shape::Qos);
}

#[test]
fn every_hostile_topology_policy_comes_to_its_end_and_parents_are_found() {
    of_shape(Shape::Topology);
}

#[test]
fn every_hostile_admission_policy_comes_to_its_end_and_the_door_is_shut() {
    of_shape(Shape::Admission);
}

#[test]
fn every_hostile_carry_policy_comes_to_its_end_and_messages_are_kept() {
    of_shape(Shape::Carry);
}

#[test]
fn every_hostile_handler_comes_to_its_end_and_another_takes_its_place() {
    of_shape(Shape::Handler);
}

#[test]
fn every_hostile_component_is_refused() {
    of_shape(Shape::Component);
}

fn of_shape(shape: Shape) {
    for plugin in Hostile::all().filter(|plugin| plugin.shape() == shape) {
        check(plugin);
    }
}

fn check(plugin: Hostile) {
    let name = plugin.name();
    let loaded = match (load(&engine(), &plugin.component(), Grants::ALL), expected(plugin)) {
        (Err(error), Expected::Refused(code)) => {
            assert_eq!(error.code(), code, "{name}: {error}");
            assert!(error.to_string().len() < 1_000 && !error.hint().is_empty(), "{name}: {error}");
            return;
        }
        (Err(error), _) => panic!("{name} is refused: {error}"),
        (Ok(_), Expected::Refused(code)) => panic!("{name} is loaded, and not refused with {code}"),
        (Ok(loaded), _) => loaded,
    };
    match plugin.shape() {
        Shape::Routing | Shape::Component => check_routing(plugin, &loaded),
        Shape::Qos => check_qos(plugin, &loaded),
        Shape::Topology => check_topology(plugin, &loaded),
        Shape::Admission => check_admission(plugin, &loaded),
        Shape::Carry => check_carry(plugin, &loaded),
        Shape::Handler => check_handler(plugin, &loaded),
    }
}

/// Checks the code of a plugin that does not get ready.
fn check_unready<T: std::fmt::Debug>(
    plugin: Hostile,
    prepared: Result<T, mesh_plugin_host::PrepareError>,
) -> Option<T> {
    match (prepared, expected(plugin)) {
        (Err(error), Expected::Unready(code)) => {
            assert_eq!(error.code(), code, "{}: {error}", plugin.name());
            assert!(error.to_string().len() < 1_000, "{}: {error}", plugin.name());
            None
        }
        (Err(error), _) => panic!("{} does not get ready: {error}", plugin.name()),
        (Ok(_), Expected::Unready(code)) => {
            panic!("{} gets ready, and does not fail with {code}", plugin.name())
        }
        (Ok(prepared), _) => Some(prepared),
    }
}

/// Checks what is left of a plugin that failed three times.
fn check_struck(plugin: Hostile, status: &SlotStatus, is: Is) {
    let fault = &status.last_faults.first().unwrap_or_else(|| panic!("{} never failed", plugin.name())).fault;
    assert!(is(fault), "{}: {fault:?}", plugin.name());
    assert_eq!((status.faults, status.state), (3, SlotState::Quarantined), "{}", plugin.name());
}

/// Four messages to a destination behind neighbour 1: an own one, one from neighbour 0, two from 1.
fn batch() -> RouteBatch {
    let mut batch = RouteBatch::default();
    for ingress in [LOCAL, 0, 1, 1] {
        batch.push(5, ingress, 100, Class::Normal);
    }
    batch
}

fn route(set: &mut PolicySet, now_ms: u64) -> Vec<u32> {
    let mut verdicts = Vec::new();
    set.route(now_ms, &batch(), &mut verdicts);
    verdicts
}

/// A set in which the built-in plugin decides.
fn set() -> PolicySet {
    let mut set = PolicySet::new(&engine());
    set.observe(0, &view());
    let good = load(&engine(), builtin::LATENCY, Grants::NONE).unwrap();
    set.swap(prepare_routing(&good, &settings([])).unwrap(), 0, StartWith::Reset).unwrap();
    assert_eq!(route(&mut set, 1), BUILT_IN);
    set
}

fn check_routing(plugin: Hostile, loaded: &Loaded) {
    let name = plugin.name();
    let Some(prepared) = check_unready(plugin, prepare_routing(loaded, &settings([]))) else { return };
    let mut set = set();
    set.swap(prepared, 1, StartWith::Reset).unwrap();
    let own = match expected(plugin) {
        Expected::Routes(verdicts) => verdicts,
        _ => [0; 4],
    };
    for turn in 1..=CALLS {
        let verdicts = route(&mut set, turn * STEP_MS);
        assert!(verdicts == own || verdicts == BUILT_IN, "{name}: {verdicts:?}");
    }
    let status = set.status(PolicySlot::Route);
    if let Expected::Struck(is) = expected(plugin) {
        check_struck(plugin, &status, is);
        assert_eq!(route(&mut set, CALLS * STEP_MS), BUILT_IN, "{name}: the last good one decides");
    } else {
        assert_eq!(status.faults, 0, "{name}: {:?}", status.last_faults);
        assert_eq!(route(&mut set, CALLS * STEP_MS), own, "{name}");
    }
}

fn check_qos(plugin: Hostile, loaded: &Loaded) {
    let name = plugin.name();
    let Some(prepared) = check_unready(plugin, prepare_qos(loaded, &settings([]))) else { return };
    let mut set = PolicySet::new(&engine());
    set.swap(prepared, 0, StartWith::Reset).unwrap();
    let mut batch = QosBatch::default();
    batch.push(Class::High, 1, 0, 0);
    batch.push(Class::Bulk, 1, 0, 0);
    let mut classes = Vec::new();
    for turn in 1..=CALLS {
        set.classify(turn * STEP_MS, &batch, &mut classes);

        let shares = set.divide(turn * STEP_MS, &Load::default()).clamped();
        assert!(shares.guaranteed[0] >= Shares::CRITICAL_FLOOR, "{name}: {shares:?}");
        assert!(shares.guaranteed.iter().all(|&share| share > 0), "{name}: {shares:?}");
        assert!(
            shares.guaranteed.iter().map(|&share| u32::from(share)).sum::<u32>() <= 100,
            "{name}: {shares:?}"
        );
    }
    let status = set.status(PolicySlot::Qos);
    match expected(plugin) {
        Expected::Struck(is) => {
            check_struck(plugin, &status, is);
            assert_eq!(classes, [1, 4], "{name}: each has the class that it was asked for");
        }
        Expected::Classifies(want) => {
            assert_eq!((classes, status.faults), (want.to_vec(), 0), "{name}");
        }
        _ => panic!("{name} is a QoS policy"),
    }
}

fn check_topology(plugin: Hostile, loaded: &Loaded) {
    let name = plugin.name();
    let Some(prepared) = check_unready(plugin, prepare_topology(loaded, &settings([]))) else { return };
    let mut set = PolicySet::new(&engine());
    set.swap(prepared, 0, StartWith::Reset).unwrap();
    let mut scores = Vec::new();
    for turn in 1..=CALLS {
        set.score(turn * STEP_MS, &ASKER, &candidates(), &mut scores);
    }
    let status = set.status(PolicySlot::Topology);
    match expected(plugin) {
        Expected::Struck(is) => {
            check_struck(plugin, &status, is);
            assert_eq!(scores, [900, 900], "{name}: the native built-in scores");
        }
        Expected::Scores(want) => assert_eq!((scores, status.faults), (want.to_vec(), 0), "{name}"),
        _ => panic!("{name} is a topology policy"),
    }
}

fn check_admission(plugin: Hostile, loaded: &Loaded) {
    let name = plugin.name();
    let Some(prepared) = check_unready(plugin, prepare_admission(loaded, &settings([]))) else { return };
    let mut set = PolicySet::new(&engine());
    set.swap(prepared, 0, StartWith::Reset).unwrap();
    let visitor = |approach| Visitor {
        node: NodeId([1; 32]),
        name: String::new(),
        labels: Vec::new(),
        health: None,
        approach,
    };
    let visitors = [Approach::Inbound, Approach::Standing].map(visitor);
    let mut answers = Vec::new();
    for turn in 1..=CALLS {
        set.admit(turn * STEP_MS, &Place::default(), &visitors, &mut answers);
    }
    let status = set.status(PolicySlot::Admission);
    match expected(plugin) {
        Expected::Struck(is) => {
            check_struck(plugin, &status, is);
            assert_eq!(answers, [false, true], "{name}: nobody comes in, and who is there stays");
        }
        Expected::Admits(want) => assert_eq!((answers, status.faults), (want.to_vec(), 0), "{name}"),
        _ => panic!("{name} is an admission policy"),
    }
}

fn check_carry(plugin: Hostile, loaded: &Loaded) {
    let name = plugin.name();
    let Some(prepared) = check_unready(plugin, prepare_carry(loaded, &settings([]))) else { return };
    let mut set = PolicySet::new(&engine());
    set.swap(prepared, 0, StartWith::Reset).unwrap();
    let batch = CarryBatch {
        dest: vec![1, 2],
        class: vec![Class::High as u8, Class::Bulk as u8],
        messages: vec![1, 1],
        bytes: vec![100, 100],
        age_ms: vec![0, 0],
        left_ms: vec![1_000, 1_000],
        is_own: vec![0, 0],
        is_durable: vec![0, 0],
        waiting_messages: vec![0, 0],
        waiting_bytes: vec![0, 0],
    };
    let mut worths = Vec::new();
    for turn in 1..=CALLS {
        set.carry(turn * STEP_MS, &Room::default(), &batch, &mut worths);
    }
    let status = set.status(PolicySlot::Carry);
    match expected(plugin) {
        Expected::Struck(is) => {
            check_struck(plugin, &status, is);
            assert_eq!(worths, [200, 50], "{name}: each is worth what its class is");
        }
        Expected::Carries(want) => assert_eq!((worths, status.faults), (want.to_vec(), 0), "{name}"),
        _ => panic!("{name} is a carry policy"),
    }
}

fn command(slot: &mut HandlerSlot, now_ms: u64, name: &str) -> Outcome {
    slot.handle(now_ms, 1, Event::Command { name: name.into(), payload: vec![1] }).outcome
}

fn check_handler(plugin: Hostile, loaded: &Loaded) {
    let name = plugin.name();
    let mut slot = HandlerSlot::new(&engine(), [1; 32], "ada", Kv::new());
    let prepared = prepare_handler(loaded, slot.identity(), &settings([]));
    let Some(prepared) = check_unready(plugin, prepared) else { return };
    slot.swap(prepared, 0, StartWith::Keep).unwrap();

    let outcomes: Vec<Outcome> = (1..=8).map(|turn| command(&mut slot, turn * STEP_MS, "act")).collect();

    match expected(plugin) {
        Expected::Struck(is) => {
            check_struck(plugin, &slot.status(), is);
            assert_eq!(outcomes.last(), Some(&Outcome::Failed), "{name}: nothing handles");
        }
        Expected::Does(is) => {
            let is_done = |outcome: &Outcome| matches!(outcome, Outcome::Done(effects) if is(effects));
            assert!(outcomes.iter().all(is_done), "{name}: {outcomes:?}");
            assert_eq!(slot.status().faults, 0, "{name}");
        }
        _ => panic!("{name} is a handler"),
    }
    let good = load(&engine(), builtin::BEACON, Grants::ALL).unwrap();
    let good = prepare_handler(&good, slot.identity(), &settings([])).unwrap();
    slot.swap(good, 10 * STEP_MS, StartWith::Reset).unwrap();
    assert!(
        matches!(command(&mut slot, 10 * STEP_MS, "list"), Outcome::Done(_)),
        "{name}: the next one handles"
    );
}

/// W11: a handler that tells everyone everything at once is held to the host's pace, loses nothing else by it, and its
/// operator reads of it. No image is offered this way yet: there are no updates of devices.
#[test]
fn a_handler_publishes_no_faster_than_the_host_lets_it() {
    let loaded = load(&engine(), &Hostile::PublishToEveryoneNow.component(), Grants::ALL).unwrap();
    let mut slot = HandlerSlot::new(&engine(), [1; 32], "ada", Kv::new());
    let prepared = prepare_handler(&loaded, slot.identity(), &settings([])).unwrap();
    slot.swap(prepared, 0, StartWith::Keep).unwrap();
    let published = |slot: &mut HandlerSlot, now_ms| match command(slot, now_ms, "act") {
        Outcome::Done(effects) => effects.len(),
        outcome => panic!("{outcome:?}"),
    };

    let first: usize = (0..10).map(|turn| published(&mut slot, 1_000 + turn)).sum();
    let next: usize = (0..10).map(|turn| published(&mut slot, 2_000 + turn)).sum();

    let most = limits::PUBLISHED_PER_S as usize;
    assert_eq!((first, next), (most, most));
    let said: Vec<String> = slot.log_after(0).into_iter().map(|line| line.text).collect();
    let dropped = format!("{} messages were more than it may publish a second", 2_560 - most);
    assert_eq!(said.iter().filter(|line| **line == dropped).count(), 1, "{said:?}");
    assert_eq!(slot.status().faults, 0);
}

/// W14: what one plugin leaves in its memory is never in that of another.
#[test]
fn fresh_memory_shows_nothing_of_others() {
    let secret = load(&engine(), &Hostile::LeavesASecret.component(), Grants::NONE).unwrap();
    let curious = load(&engine(), &Hostile::StateShowsMemory.component(), Grants::NONE).unwrap();
    for _ in 0..8 {
        let mut set = set();
        set.swap(prepare_routing(&secret, &settings([])).unwrap(), 1, StartWith::Reset).unwrap();
        assert_eq!(route(&mut set, STEP_MS), [0; 4]);
        drop(set);
        let mut set = self::set();
        set.swap(prepare_routing(&curious, &settings([])).unwrap(), 1, StartWith::Reset).unwrap();

        let state = set.peek_state(PolicySlot::Route).unwrap().unwrap();

        assert_eq!(state.bytes.len(), limits::STATE_BYTES);
        assert!(state.bytes.iter().all(|&byte| byte == 0));
    }
}

/// W19: a float that is no number has the same bits on every machine.
#[test]
fn what_is_no_number_has_the_same_bits_everywhere() {
    let loaded = load(&engine(), &Hostile::StateShowsAFloat.component(), Grants::NONE).unwrap();
    let mut set = set();
    set.swap(prepare_routing(&loaded, &settings([])).unwrap(), 1, StartWith::Reset).unwrap();

    route(&mut set, STEP_MS);

    let state = set.peek_state(PolicySlot::Route).unwrap().unwrap();
    assert_eq!(state.bytes, 0x7ff8_0000_0000_0000_u64.to_le_bytes());
}
