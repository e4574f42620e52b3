use mesh_proto::NodeId;
use mesh_proto::members::MemberState;
use mesh_proto::policy::{Approach, CarryRow, Class, MAX_VISITORS};

use super::*;
use crate::settings::Settings;
use crate::terms::Lowered;

fn batch(dests: &[u32]) -> RouteBatch {
    let mut batch = RouteBatch::default();
    dests.iter().for_each(|&dest| batch.push(dest, 0, 100, Class::Normal));
    batch
}

fn told() -> Told {
    Told { by: By::Plugin, cost_ns: Some(1_200) }
}

#[test]
fn every_kind_of_entry_is_read_as_it_was_written() {
    let mut journal = Journal::new(1 << 20);
    let mut view = View::default();
    view.links.rtt_us = vec![1, 2];
    view.links.loss_ppm = vec![0, 0];
    view.links.queued_bytes = vec![3, 4];
    let load = Load { sent_bytes: [1, 2, 3, 4, u64::MAX], ..Load::default() };
    let greedy = Shares { guaranteed: [0, 100, 100, 0, 0], burst: [0; 5] };
    let state = State { version: 7, bytes: vec![1, 2, 255] };
    let asker = Asker { level: 1, mobility: 2, battery: 3, weights: [4, 5, 6, 7], max_distance_m: 8 };
    let candidates = Candidates { node: vec![9], max_children: vec![10], ..Candidates::default() };
    let mut classes = QosBatch::default();
    classes.push(Class::High, 5, 6, 7);
    let place = Place { links: 1, least: 2, most: 3, members: 4 };
    let visitors = visitors();
    let room =
        Room { messages: 1, bytes: 2, most_bytes: u64::MAX, most_messages_each: 3, most_bytes_each: 4 };
    let mut runs = CarryBatch::default();
    runs.push(CarryRow {
        dest: 1,
        class: Class::Low,
        messages: 2,
        bytes: 3,
        age_ms: 4,
        left_ms: 5,
        is_own: true,
        is_durable: false,
        waiting_messages: 6,
        waiting_bytes: 7,
    });

    journal.start(1, None, With::State, Some(&state), &[]);
    journal.observe(2, &view);
    journal.routed(3, told(), &batch(&[5, 5, 6]), &[1, 1, 0]);
    journal.clamped(3, &Clamp { rows: 1..3, applied: Overrule::NextHop(0) });
    journal.classified(4, Told { by: By::Native, cost_ns: None }, &classes, &[2]);
    journal.divided(5, told(), &load, greedy);
    journal.scored(6, told(), (&asker, &candidates), &[77]);
    journal.admitted(7, told(), (&place, &visitors), &[true, false]);
    journal.carried(8, told(), (&room, &runs), &[0]);

    let page = journal.page(0, usize::MAX);
    assert_eq!((page.next, page.end, page.missed, page.entries.len()), (9, 9, 0, 9));
    let events: Vec<&Event> = page.entries.iter().map(|entry| &entry.event).collect();
    assert_eq!(
        *events[0],
        Event::Start(Start { with: With::State, version: 7, state: state.bytes, handler: None })
    );
    let Event::Observe(seen) = events[1] else { panic!("{:?}", events[1]) };
    assert_eq!(View::from(seen), view);
    let Event::Route(routed) = events[2] else { panic!("{:?}", events[2]) };
    assert_eq!(
        (routed.batch(), &routed.answers[..], routed.told),
        (batch(&[5, 5, 6]), &[1, 1, 0][..], told())
    );
    assert_eq!(*events[3], Event::Clamp(Overruled { of: 2, row: 1, rows: 2, applied: 0 }));
    let Event::Classify(classified) = events[4] else { panic!("{:?}", events[4]) };
    assert_eq!((classified.batch(), classified.told.cost_ns), (classes, None));
    let Event::Divide(divided) = events[5] else { panic!("{:?}", events[5]) };
    assert_eq!((divided.load(), divided.shares()), (load, greedy));
    assert_eq!(divided.applied_guaranteed, greedy.clamped().guaranteed);
    let Event::Score(scored) = events[6] else { panic!("{:?}", events[6]) };
    assert_eq!((scored.asker(), scored.candidates(), &scored.answers[..]), (asker, candidates, &[77][..]));
    let Event::Admit(admitted) = events[7] else { panic!("{:?}", events[7]) };
    assert_eq!(
        (admitted.place(), admitted.visitors(), admitted.is_whole()),
        (place, visitors.to_vec(), true)
    );
    assert_eq!(admitted.answers, [true, false]);
    let Event::Carry(carried) = events[8] else { panic!("{:?}", events[8]) };
    assert_eq!((carried.room(), carried.batch(), &carried.answers[..]), (room, runs, &[0][..]));
    let times: Vec<u64> = page.entries.iter().map(|entry| entry.now_ms).collect();
    assert_eq!(times, [1, 2, 3, 3, 4, 5, 6, 7, 8]);
}

/// One that says something of itself, and one of whom nothing is known.
fn visitors() -> [Visitor; 2] {
    let labels = [("a", ""), ("région", "eu")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let known = Visitor {
        node: NodeId([1; 32]),
        name: "näme".into(),
        labels: labels.into(),
        health: Some(MemberState::Left),
        approach: Approach::Standing,
    };
    let unknown = Visitor {
        node: NodeId([2; 32]),
        name: String::new(),
        labels: Vec::new(),
        health: None,
        approach: Approach::Inbound,
    };
    [known, unknown]
}

/// A file may say anything: what no node writes is not replayed.
#[test]
fn visitors_that_no_node_asks_about_are_not_whole() {
    let mut journal = Journal::new(1 << 20);
    journal.admitted(1, told(), (&Place::default(), &visitors()), &[true, true]);
    let Event::Admit(whole) = journal.page(0, usize::MAX).entries.remove(0).event else { panic!("no call") };
    let changes: [fn(&mut Admitted); 6] = [
        |call| call.health[0] = 5,
        |call| call.approach[1] = 3,
        |call| drop(call.name.pop()),
        |call| call.labels.push(Vec::new()),
        |call| call.name[0] = "x".repeat(crate::limits::VISITOR_BYTES + 1),
        |call| call.node.resize(MAX_VISITORS + 1, Key::of([0; 32])),
    ];
    assert!(whole.is_whole());
    for (at, change) in changes.iter().enumerate() {
        let mut call = whole.clone();
        change(&mut call);

        assert!(!call.is_whole(), "change {at}");
    }
}

#[test]
fn the_oldest_entries_give_way_and_are_counted() {
    let mut journal = Journal::new(MIN_BYTES);
    let dests: Vec<u32> = (0..20).collect();
    for now_ms in 0..1_000 {
        journal.routed(now_ms, told(), &batch(&dests), &dests);
    }

    let extent = journal.extent();
    let page = journal.page(0, usize::MAX);

    assert_eq!(extent.entries + extent.dropped, 1_000);
    assert!((5..30).contains(&extent.entries), "{extent:?}");
    assert_eq!(
        (page.missed, page.entries[0].number, page.entries[0].now_ms),
        (extent.first, extent.first, extent.first)
    );
    assert_eq!((extent.since_ms, extent.most_bytes), (Some(extent.first), MIN_BYTES));
    assert!(extent.bytes > MIN_BYTES / 2 && extent.bytes <= MIN_BYTES, "{extent:?}");
    assert_eq!(page.entries.last().map(|entry| entry.number), Some(999));
    assert!(journal.entry(extent.first - 1).is_none());
    assert_eq!(journal.entry(999).map(|(entry, _)| entry.now_ms), Some(999));
}

#[test]
fn a_saved_state_of_equal_bytes_is_read_whole() {
    let mut journal = Journal::new(1 << 20);
    let state = State { version: 1, bytes: vec![0; 100_000] };

    journal.start(1, None, With::Anchor, Some(&state), &[]);

    let page = journal.page(0, usize::MAX);
    let Event::Start(start) = &page.entries[0].event else { panic!("{:?}", page.entries[0].number) };
    assert!(start.state == state.bytes, "{} bytes", start.state.len());
}

#[test]
fn a_page_has_its_bound_and_the_next_goes_on_from_there() {
    let mut journal = Journal::new(1 << 20);
    for now_ms in 0..100 {
        journal.routed(now_ms, told(), &batch(&[1, 2, 3]), &[0, 0, 0]);
    }
    let (mut from, mut numbers, mut pages) = (0, Vec::new(), 0);

    while from < journal.end() {
        let page = journal.page(from, 1_000);
        assert!(page.entries.len() < 20);
        numbers.extend(page.entries.iter().map(|entry| entry.number));
        from = page.next;
        pages += 1;
    }

    assert_eq!(numbers, (0..100).collect::<Vec<u64>>());
    assert!(pages > 5);
    assert_eq!(journal.page(100, 1_000).entries, []);
    assert_eq!(journal.page(500, 1_000).next, 100);
}

#[test]
fn a_page_counts_what_equal_values_take_when_they_are_written_out() {
    let mut journal = Journal::new(1 << 20);
    let state = State { version: 1, bytes: vec![0; 100_000] };
    for now_ms in 0..3 {
        journal.start(now_ms, None, With::Anchor, Some(&state), &[]);
    }

    assert_eq!(journal.page(0, 100_000).entries.len(), 1);
}

#[test]
fn what_is_larger_than_the_journal_takes_leaves_a_mark() {
    let mut journal = Journal::new(MIN_BYTES);
    let dests: Vec<u32> = (0..2_000).collect();

    journal.routed(1, told(), &batch(&dests), &dests);
    // Equal values are small however many they are.
    journal.routed(2, told(), &batch(&[7; 2_000]), &[1; 2_000]);

    let page = journal.page(0, usize::MAX);
    assert!(matches!(page.entries[0].event, Event::Lost { bytes: 16_000.. }), "{:?}", page.entries[0]);
    let Event::Route(routed) = &page.entries[1].event else { panic!("{:?}", page.entries[1]) };
    assert_eq!((routed.dest.len(), routed.answers[1_999]), (2_000, 1));
}

#[test]
fn bindings_beyond_their_bound_take_their_entries_along() {
    let mut journal = Journal::new(1 << 20);
    let revision =
        |n: u32| Revision { name: format!("a/{n}"), version: "1.0.0".into(), digest: [n as u8; 32] };
    let (settings, host) = (Settings::new(), Lowered::default());
    for n in 0..200 {
        journal.start(n.into(), Some((&revision(n), &settings, &host)), With::Nothing, None, &[]);
        // The same again is the same binding.
        journal.start(n.into(), Some((&revision(n), &settings, &host)), With::Unknown, None, &[]);
    }

    let page = journal.page(0, usize::MAX);

    assert_eq!(page.bindings.len(), BINDINGS);
    assert_eq!(page.entries.len(), 2 * BINDINGS);
    assert!(page.entries.iter().all(|entry| page.bindings.iter().any(|b| b.binding == entry.binding)));
}
