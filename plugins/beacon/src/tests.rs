use super::*;

const BERLIN: (f64, f64) = (52.5200, 13.4050);

fn node(number: u8) -> Node {
    Node { id: vec![number; 32], name: format!("node-{number}") }
}

fn beacon<const N: usize>(number: u8, settings: [(&str, mesh_sdk::Value); N]) -> Beacon {
    let mut beacon = Beacon::default();
    beacon.configure(node(number), Settings::from(settings)).unwrap();
    beacon
}

fn at(number: u8, (lat, lon): (f64, f64)) -> Beacon {
    beacon(number, [("lat", lat.into()), ("lon", lon.into())])
}

/// What a node at a position publishes at a time.
fn said_by(number: u8, position: (f64, f64), now_ms: u64) -> Message {
    let Some(Effect::Publish { topic, payload, .. }) = at(number, position).compose(now_ms) else {
        panic!("it has a position")
    };
    Message { topic, origin: vec![number; 32], id: vec![0; 32], payload, sent_ms: now_ms }
}

fn hear(beacon: &mut Beacon, now_ms: u64, message: Message) -> Vec<String> {
    kinds(&beacon.handle(now_ms, 0, Event::Message(message)).unwrap())
}

fn kinds(effects: &[Effect]) -> Vec<String> {
    let notices = effects.iter().filter_map(|effect| match effect {
        Effect::Notify { kind, payload } => {
            let details: serde_json::Value = serde_json::from_slice(payload).unwrap();
            Some(match details["reason"].as_str() {
                Some(reason) => format!("{kind}: {reason}"),
                None => kind.clone(),
            })
        }
        _ => None,
    });
    notices.collect()
}

fn command(beacon: &mut Beacon, name: &str, payload: &str) -> Result<serde_json::Value, Failure> {
    let event = Event::Command { name: name.into(), payload: payload.as_bytes().to_vec() };
    let effects = beacon.handle(0, 0, event)?;
    let reply = effects.iter().find_map(|effect| match effect {
        Effect::Reply(bytes) => Some(serde_json::from_slice(bytes).unwrap()),
        _ => None,
    });
    Ok(reply.expect("a command is answered"))
}

fn nodes(listing: &serde_json::Value) -> Vec<String> {
    let rows = listing["beacons"].as_array().unwrap().iter();
    rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

/// PM-86.
#[test]
fn a_beacon_carries_the_document_and_the_next_one_is_timed() {
    let mut beacon = at(1, BERLIN);

    let effects = beacon.handle(7_000, 12_345, Event::Timer(COMPOSE)).unwrap();

    let [Effect::SetTimer { id: COMPOSE, after_ms }, Effect::Publish { topic, ttl_ms, payload, .. }] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert!((4_500..=5_500).contains(after_ms), "{after_ms}");
    assert_eq!((topic.as_str(), *ttl_ms), ("mesh/beacon", 30_000));
    let document: serde_json::Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(document["node_id"], "01".repeat(32));
    assert_eq!(document["geohash"], "u33dc0c");
    assert_eq!(document["timestamp"], 7);
    assert_eq!(document["operational"], true);
}

#[test]
fn a_node_without_a_position_says_nothing_and_goes_on() {
    let mut beacon = beacon(1, []);

    let effects = beacon.handle(0, 0, Event::Timer(COMPOSE)).unwrap();

    assert!(matches!(effects[..], [Effect::SetTimer { id: COMPOSE, .. }]), "{effects:?}");
}

/// PM-87.
#[test]
fn a_node_enters_once_and_leaves_when_it_is_outside_the_nine_cells() {
    let mut here = at(1, BERLIN);

    assert_eq!(hear(&mut here, 0, said_by(2, (52.5201, 13.4051), 0)), ["beacon-entered"]);
    assert!(hear(&mut here, 1_000, said_by(2, (52.5201, 13.4052), 1_000)).is_empty());
    assert_eq!(hear(&mut here, 2_000, said_by(2, (52.5300, 13.4051), 2_000)), ["beacon-left: moved"]);
}

#[test]
fn moving_oneself_brings_others_near_and_leaves_others_behind() {
    let mut here = at(1, BERLIN);
    hear(&mut here, 0, said_by(2, (52.5201, 13.4051), 0));
    hear(&mut here, 0, said_by(3, (52.5300, 13.4050), 0));

    let event =
        Event::Command { name: "set-position".into(), payload: br#"{"lat":52.53,"lon":13.405}"#.to_vec() };
    let effects = here.handle(0, 0, event).unwrap();

    assert_eq!(kinds(&effects), ["beacon-left: moved", "beacon-entered"]);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Publish { .. })), "{effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Put { key, .. } if key == "position")));
}

/// PM-88.
#[test]
fn a_silent_node_is_gone_after_its_time() {
    let mut here = at(1, BERLIN);
    hear(&mut here, 0, said_by(2, BERLIN, 0));

    assert!(kinds(&here.handle(30_000, 0, Event::Timer(SWEEP)).unwrap()).is_empty());
    assert_eq!(kinds(&here.handle(30_001, 0, Event::Timer(SWEEP)).unwrap()), ["beacon-left: expired"]);
    assert!(nodes(&command(&mut here, "list", "").unwrap()).is_empty());
}

#[test]
fn a_beacon_out_of_range_is_not_remembered() {
    let mut here = at(1, BERLIN);

    hear(&mut here, 0, said_by(2, (52.60, 13.4050), 0));

    assert!(nodes(&command(&mut here, "list", "").unwrap()).is_empty());
}

#[test]
fn an_older_beacon_does_not_undo_a_newer_one() {
    let mut here = at(1, BERLIN);
    hear(&mut here, 9_000, said_by(2, (52.5300, 13.4050), 9_000));

    hear(&mut here, 9_500, said_by(2, BERLIN, 5_000));

    let listing = command(&mut here, "list", "").unwrap();
    assert_eq!(listing["beacons"][0]["position"]["lat"], 52.53);
}

#[test]
fn a_beacon_in_another_name_or_beyond_a_bound_is_refused_and_remembered_nowhere() {
    let mut here = at(1, BERLIN);
    let mut forged = said_by(2, BERLIN, 0);
    forged.origin = vec![3; 32];
    let document = |change: &str| {
        let good = String::from_utf8(said_by(2, BERLIN, 0).payload).unwrap();
        Message { payload: good.replace("52.52", change).into_bytes(), ..said_by(2, BERLIN, 0) }
    };
    let huge = Message { payload: vec![b' '; MAX_BYTES + 1], ..said_by(2, BERLIN, 0) };
    let deep = Message { payload: vec![b'['; MAX_BYTES], ..said_by(2, BERLIN, 0) };

    for message in [forged, document("91"), document("1e999"), document("\"x\""), huge, deep] {
        let refused = here.handle(0, 0, Event::Message(message));

        assert!(matches!(refused, Err(Failure::BadInput(_))), "{refused:?}");
    }
    assert!(nodes(&command(&mut here, "list", "").unwrap()).is_empty());
}

/// PM-89.
#[test]
fn radius_and_prefix_return_exactly_those_inside_also_across_the_antimeridian() {
    let mut here =
        beacon(1, [("preset", "distributed".into()), ("lat", 0.0.into()), ("lon", 179.9999.into())]);
    for (number, position) in
        [(2, (0.0, -179.9999)), (3, (0.0, 179.9)), (4, (0.0, -179.9)), (5, (1.0, 179.9999))]
    {
        hear(&mut here, 0, said_by(number, position, 0));
    }

    let near = command(&mut here, "near", r#"{"radius_m": 50}"#).unwrap();
    assert_eq!(nodes(&near), ["node-2"]);
    let near = command(&mut here, "near", r#"{"radius_m": 12000}"#).unwrap();
    assert_eq!(nodes(&near).len(), 3, "{near}");
    let cell = command(&mut here, "near", r#"{"geohash": "xbp"}"#).unwrap();
    assert_eq!(nodes(&cell).len(), 2, "{cell}");
}

#[test]
fn commands_that_make_no_sense_are_declined_with_a_reason() {
    let mut here = beacon(1, []);
    for (name, payload, want) in [
        ("fly", "", Failure::UnknownCommand("fly".into())),
        (
            "set-position",
            r#"{"lat":91,"lon":0}"#,
            Failure::BadInput("lat is -90 to 90, lon is -180 to 180".into()),
        ),
        ("near", "", Failure::Unavailable("this node has no position: use set-position first".into())),
        (
            "near",
            r#"{"radius_m":1,"geohash":"u"}"#,
            Failure::BadInput("give radius_m or geohash, not both".into()),
        ),
    ] {
        assert_eq!(command(&mut here, name, payload), Err(want));
    }
    assert!(matches!(command(&mut here, "set-position", "{"), Err(Failure::BadInput(_))));
}

#[test]
fn the_node_that_was_silent_for_longest_makes_room() {
    let mut here = beacon(1, [("max_beacons", 2.into()), ("lat", BERLIN.0.into()), ("lon", BERLIN.1.into())]);
    for number in 2..=4u8 {
        let now_ms = u64::from(number) * 1_000;
        hear(&mut here, now_ms, said_by(number, BERLIN, now_ms));
    }

    assert_eq!(nodes(&command(&mut here, "list", "").unwrap()), ["node-3", "node-4"]);
}

#[test]
fn a_successor_knows_everybody_and_a_restarted_node_its_position() {
    let mut old = at(1, BERLIN);
    hear(&mut old, 0, said_by(2, BERLIN, 0));
    let mut new = beacon(1, []);

    new.load(1, &old.save()).unwrap();

    assert_eq!(new.state, old.state);
    mesh_sdk::kv::preset("position", br#"{"lat":1.0,"lon":2.0}"#);
    assert_eq!(beacon(1, []).state.position, Some(Position { lat: 1.0, lon: 2.0, alt: None }));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (settings, want) in [
        (vec![("lat", 1.0.into())], "lon"),
        (vec![("preset", "huge".into())], "preset"),
        (vec![("period_ms", 60_000.into())], "ttl_ms"),
        (vec![("precision", 4.into())], "precision"),
    ] {
        let settings: Settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();

        let refused = Beacon::default().configure(node(1), settings);

        assert_eq!(refused, Err(Refusal::BadSetting(want.into())));
    }
}
