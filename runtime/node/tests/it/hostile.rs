//! A peer with an honest identity that speaks garbage to a real node over QUIC. Each offence costs it its
//! link and nobody else anything. P05, P08, P09; I3, I5, I7.

use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use mesh_node::api::{EventKind, PeerState, Reply, Request};
use mesh_node::keys::NodeKey;
use mesh_node::message::{Delivery, Filter, SendOptions};
use mesh_node::transport::quic::{QuicConfig, QuicTransport};
use mesh_node::transport::{EventReceiver, Lane, LinkId, Transport, TransportEvent, events};
use mesh_node::{LinkPolicy, Mesh};
use mesh_proto::NodeId;
use mesh_proto::frame::{Control, MAX_CONTROL_FRAME, MAX_FRAME, Offer, Route};
use mesh_proto::policy::Class;
use mesh_proto::record::{Facts, Record};
use mesh_proto::run::{Dest, Draft, Flow, Head, Run, seal};

/// The lane of the class normal.
const NORMAL: u8 = 3;

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within 30 s"),
    }
}

async fn call(mesh: &Mesh, request: Request) -> Reply {
    mesh.call(request, Bytes::new()).await.expect("the call succeeds")
}

async fn counter(mesh: &Mesh, name: &str) -> u64 {
    let Reply::Counters(counters) = call(mesh, Request::Counters).await else { panic!("counters") };
    counters.0.get(name).copied().unwrap_or(0)
}

async fn neighbours(mesh: &Mesh) -> usize {
    let Reply::Peers(peers) = call(mesh, Request::Peers).await else { panic!("peers") };
    peers.iter().filter(|peer| peer.state == PeerState::Up).count()
}

/// The victim with one honest neighbour.
async fn victim() -> (Mesh, Mesh) {
    let explicit = |name| Mesh::builder().name(name).links(LinkPolicy::Explicit);
    let victim = explicit("victim").start().await.expect("it starts");
    let honest = explicit("honest").join(&victim.local_addrs()[0]).start().await.expect("it starts");
    within("the honest link", async {
        while neighbours(&victim).await < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (victim, honest)
}

/// A bare transport under control of the test.
struct Stranger {
    key: NodeKey,
    transport: QuicTransport,
    events: EventReceiver,
    link: LinkId,
}

impl Stranger {
    async fn at(victim: &Mesh) -> Stranger {
        let key = NodeKey::generate().expect("there is randomness");
        let (sender, mut events) = events();
        let listen = vec!["127.0.0.1:0".parse().expect("an address")];
        let config = QuicConfig { listen, ..QuicConfig::default() };
        let transport = QuicTransport::bind(config, &key, sender).expect("a free port");
        transport.dial(&victim.local_addrs()[0], Some(victim.id()), 1);
        let link = match within("the dial", events.recv()).await {
            Some(TransportEvent::Up { link, .. }) => link,
            other => panic!("expected Up, got {other:?}"),
        };
        Stranger { key, transport, events, link }
    }

    async fn greeted(victim: &Mesh) -> Stranger {
        let stranger = Stranger::at(victim).await;
        stranger.send(0, Control::Hello { epoch: 1, heartbeat_ms: 500, samples: false }.encode());
        stranger
    }

    fn send(&self, lane: u8, bytes: Bytes) {
        let lane = Lane::new(lane).expect("a lane");
        // An error means that the victim has closed the link already.
        let _ = self.transport.send(self.link, lane, vec![bytes]);
    }

    /// Waits for the end of the link and returns the reason that the victim gave.
    async fn dismissed(&mut self) -> String {
        within("the end of the link", async {
            loop {
                match self.events.recv().await.expect("the transport lives") {
                    TransportEvent::Down { reason, .. } => return reason.to_string(),
                    _ => continue,
                }
            }
        })
        .await
    }
}

fn frame(content: &[u8]) -> Bytes {
    [&(content.len() as u32).to_le_bytes()[..], content].concat().into()
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as u64
}

/// A run from `origin` that `key` signed.
fn run(key: &SigningKey, origin: NodeId, dest: NodeId, payload: &'static [u8]) -> Run {
    let now = unix_ms();
    let head = Head {
        flow: Flow { origin, epoch: 1, dest: Dest::Node(dest) },
        seq_base: 0,
        sent_ms: now,
        expiry_ms: now + 60_000,
        class: Class::Normal,
        hop_limit: 5,
        durable: false,
        internal: false,
    };
    seal(key, vec![Draft { head, first_seq: 0, payloads: vec![Bytes::from_static(payload)] }]).remove(0)
}

fn wire(run: &Run) -> Bytes {
    run.encode(1).concat().into()
}

fn changed(bytes: &Bytes, at: usize, value: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] = value;
    bytes.into()
}

struct Offence {
    what: &'static str,
    greets: bool,
    lane: u8,
    bytes: Bytes,
    counted: &'static str,
}

fn offences(victim: NodeId, honest: NodeId) -> Vec<Offence> {
    let stranger = NodeKey::generate().expect("there is randomness");
    let hello = Control::Hello { epoch: 1, heartbeat_ms: 500, samples: false }.encode();
    let ping = Control::Ping { nonce: 1 }.encode();
    let forged = wire(&run(stranger.signing(), honest, victim, b"forged"));
    let own = wire(&run(stranger.signing(), stranger.id(), victim, b"own"));
    // Newer than what is known: an old one is passed over unread.
    let (version, epoch) = (unix_ms() + 100_000, unix_ms());
    let facts = Facts { epoch, name: "mallory".to_owned(), ..Facts::default() };
    let mut record = Record::sign(stranger.signing(), version, facts);
    record.node = honest;
    let routes = vec![Route { node: honest, seqno: 1, cost_us: 1, hops: 1 }];
    let offer = Offer { origin: honest, epoch: 1, first: u64::MAX, count: 7, hops: 0 };
    let topic = mesh_proto::TopicId::of("t");
    let too_long = |max: usize| Bytes::from((max as u32 + 1).to_le_bytes().to_vec());
    let of = |what, greets, lane, bytes, counted| Offence { what, greets, lane, bytes, counted };
    vec![
        of("a ping before the hello", false, 0, ping.clone(), "violation_not_greeted"),
        of("a run before the hello", false, NORMAL, own.clone(), "violation_not_greeted"),
        of("an unknown type before the hello", false, 0, frame(&[0x7f]), "violation_unknown_frame"),
        of("an empty frame before the hello", false, 0, frame(b""), "violation_empty_frame"),
        of("a hello of another protocol", false, 0, changed(&hello, 5, b'X'), "violation_bad_field"),
        of("a hello of another version", false, 0, changed(&hello, 9, 99), "violation_other_version"),
        of("a second hello", true, 0, hello.clone(), "violation_not_greeted"),
        of("a hello on a class lane", true, NORMAL, hello, "violation_wrong_lane"),
        of("a run on the control lane", true, 0, own.clone(), "violation_wrong_lane"),
        of("a cut ping", true, 0, frame(&ping[4..10]), "violation_truncated"),
        of("a long ping", true, 0, frame(&[&ping[4..], b"x"].concat()), "violation_trailing_bytes"),
        of("a mandatory unknown type", true, 0, frame(&[0x7f, 1]), "violation_unknown_frame"),
        of("one on a class lane", true, NORMAL, frame(&[0x7f, 1]), "violation_unknown_frame"),
        of("a control frame too long", true, 0, too_long(MAX_CONTROL_FRAME), "violation_frame_too_long"),
        of("a class frame too long", true, NORMAL, too_long(MAX_FRAME), "violation_frame_too_long"),
        of("more rows than allowed", true, 0, frame(&[0x06, 0xff, 0xff]), "violation_too_long"),
        of("rows that are not there", true, 0, cut_rows(routes), "violation_truncated"),
        of(
            "an offer that overflows",
            true,
            0,
            Control::IHave { topic, offers: vec![offer] }.encode(),
            "violation_bad_field",
        ),
        of(
            "an acknowledgement of nothing",
            true,
            0,
            Control::Ack { runs: [9; 5] }.encode(),
            "violation_bad_ack",
        ),
        of(
            "a record of somebody else",
            true,
            0,
            Control::Records(vec![record.into()]).encode(),
            "violation_bad_signature",
        ),
        of("a forged run", true, NORMAL, forged, "violation_bad_signature"),
        of(
            "a run with another payload",
            true,
            NORMAL,
            changed(&own, own.len() - 1, b'!'),
            "violation_bad_signature",
        ),
        of("a run cut short", true, NORMAL, frame(&own[4..60]), "violation_truncated"),
        of("a run of nothing", true, NORMAL, frame(&own[4..5]), "violation_truncated"),
    ]
}

fn cut_rows(routes: Vec<Route>) -> Bytes {
    let whole = Control::Routes(routes).encode();
    frame(&whole[4..whole.len() - 1])
}

#[tokio::test]
async fn every_offence_closes_that_link_with_a_typed_violation_and_nothing_else() {
    let (victim, honest) = victim().await;
    let mut inbox = victim.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    let mut told = victim.events();
    let offences = offences(victim.id(), honest.id());
    assert!(offences.len() > 20);
    for (count, Offence { what, greets, lane, bytes, counted }) in offences.into_iter().enumerate() {
        let before = counter(&victim, counted).await;
        let mut stranger =
            if greets { Stranger::greeted(&victim).await } else { Stranger::at(&victim).await };

        stranger.send(lane, bytes);

        let reason = stranger.dismissed().await;
        assert!(reason.contains("closed by the peer"), "{what}: {reason}");
        let violation = within(what, async {
            loop {
                let event = told.next().await.expect("the node runs");
                if let EventKind::LinkViolation { node, violation, .. } = event.kind {
                    assert_eq!(node, Some(stranger.key.id().to_string()), "{what}");
                    return violation;
                }
            }
        })
        .await;
        let name = counted.trim_start_matches("violation_").replace('_', "-");
        assert!(violation.starts_with(&format!("{name}:")), "{what}: {violation}");
        assert_eq!(counter(&victim, counted).await, before + 1, "{what}");
        assert_eq!(counter(&victim, "links_violated").await, count as u64 + 1, "{what}");
        honest.send(victim.id(), vec![Bytes::from(what)], SendOptions::default()).await.expect("sent");
        let Some(Delivery::Batch(messages)) = within(what, inbox.next()).await else { panic!("{what}") };
        assert_eq!((messages.len(), &messages[0].payload[..]), (1, what.as_bytes()));
    }
    assert_eq!(neighbours(&victim).await, 1, "the honest link alone is left");
}

// P08: what may be skipped is skipped, and what follows it is served.
#[tokio::test]
async fn optional_unknown_frames_are_skipped() {
    let (victim, _honest) = victim().await;
    let mut inbox = victim.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    let stranger = Stranger::greeted(&victim).await;

    for kind in [0x80, 0xfe, 0xff] {
        stranger.send(0, frame(&[kind, 1, 2, 3]));
        stranger.send(NORMAL, frame(&[kind]));
    }
    stranger.send(NORMAL, wire(&run(stranger.key.signing(), stranger.key.id(), victim.id(), b"served")));

    let Some(Delivery::Batch(messages)) = within("the message", inbox.next()).await else { panic!("a gap") };
    assert_eq!(&messages[0].payload[..], b"served");
    within("the control lane", async {
        while counter(&victim, "frames_skipped").await < 6 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(counter(&victim, "links_violated").await, 0);
}

// P03, P09: bits flipped in every kind of frame, a new link whenever one was closed.
#[tokio::test]
async fn mutated_frames_harm_nobody() {
    let (victim, honest) = victim().await;
    let mut inbox = victim.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    let mut rng = fastrand::Rng::with_seed(5);
    let samples: Vec<Offence> = offences(victim.id(), honest.id());
    for _ in 0..100 {
        let stranger = Stranger::greeted(&victim).await;
        for _ in 0..rng.usize(1..20) {
            let sample = rng.choice(&samples).expect("there are samples");
            let mut bytes = sample.bytes.to_vec();
            for _ in 0..rng.usize(0..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(0..8);
            }
            stranger.send(rng.u8(0..6), bytes.into());
        }
    }

    honest.send(victim.id(), vec!["still there".into()], SendOptions::default()).await.expect("sent");

    within("the honest message", async {
        loop {
            let Some(Delivery::Batch(messages)) = inbox.next().await else { panic!("a gap") };
            if messages.iter().any(|message| &message.payload[..] == b"still there") {
                return;
            }
            assert!(messages.iter().all(|message| message.origin != honest.id()), "forged");
        }
    })
    .await;
}
