//! One conformance suite, run against every transport. Rows QM-01, PM-31.

use std::time::Duration;

use bytes::Bytes;
use mesh_node::keys::NodeKey;
use mesh_node::transport::memory::{Hub, MemoryTransport};
use mesh_node::transport::quic::{QuicConfig, QuicTransport};
use mesh_node::transport::{
    CLOSE_OK, DialError, DownReason, EventReceiver, HIGH_WATER, LOW_WATER, Lane, LinkId, MAX_CONTROL_FRAME,
    MAX_FRAME, SendError, Transport, TransportEvent, Violation, events,
};
use mesh_proto::NodeId;
use tokio::time::timeout;

/// Time after which a test gives up waiting; no test waits this long when it passes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Makes nodes of one transport that can reach each other.
pub trait World: Default {
    fn node(&self) -> Node;
    /// An address of the right form where nobody is.
    fn nobody(&self) -> String;
}

/// One transport as its driver sees it.
pub struct Node {
    pub id: NodeId,
    pub transport: Box<dyn Transport>,
    pub events: EventReceiver,
}

impl Node {
    pub fn addr(&self) -> String {
        self.transport.local_addrs()[0].clone()
    }

    pub async fn next(&mut self) -> TransportEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("the transport lives")
    }

    pub async fn up(&mut self) -> (LinkId, NodeId, Option<u64>) {
        match self.next().await {
            TransportEvent::Up { link, peer, dialed, .. } => (link, peer, dialed),
            other => panic!("expected Up, got {other:?}"),
        }
    }

    pub async fn down(&mut self) -> (LinkId, DownReason) {
        loop {
            match self.next().await {
                TransportEvent::Down { link, reason } => return (link, reason),
                TransportEvent::Writable { .. } => {}
                other => panic!("expected Down, got {other:?}"),
            }
        }
    }

    pub async fn dial_failed(&mut self) -> (u64, DialError) {
        match self.next().await {
            TransportEvent::DialFailed { token, error, .. } => (token, error),
            other => panic!("expected DialFailed, got {other:?}"),
        }
    }

    /// Receives until `count` frames have come, and returns them with their lanes.
    pub async fn frames(&mut self, count: usize) -> Vec<(Lane, Bytes)> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.next().await {
                TransportEvent::Frames { lane, frames, .. } => {
                    assert!(!frames.is_empty());
                    all.extend(frames.into_iter().map(|f| (lane, f)));
                }
                TransportEvent::Writable { .. } => {}
                other => panic!("expected frames, got {other:?} after {} of {count}", all.len()),
            }
        }
        all
    }

    /// Sends as soon as the link has room.
    pub async fn send(&mut self, link: LinkId, lane: Lane, chunk: Vec<u8>) {
        while self.transport.buffered(link) >= HIGH_WATER {
            match self.next().await {
                TransportEvent::Writable { link: l } => assert_eq!(l, link),
                other => panic!("expected Writable, got {other:?}"),
            }
        }
        self.transport.send(link, lane, vec![Bytes::from(chunk)]).expect("a link with room takes a chunk");
    }
}

/// Two linked nodes: the dialler, its link, the other, its link.
pub async fn pair<W: World>(world: &W) -> (Node, LinkId, Node, LinkId) {
    let (mut a, mut b) = (world.node(), world.node());
    a.transport.dial(&b.addr(), Some(b.id), 7);
    let (at_a, ..) = a.up().await;
    let (at_b, ..) = b.up().await;
    (a, at_a, b, at_b)
}

pub fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_le_bytes()[..], frame].concat()
}

pub fn lane(number: u8) -> Lane {
    Lane::new(number).expect("a lane has this number")
}

async fn both_ends_know_each_other<W: World>(world: W) {
    let (mut a, mut b) = (world.node(), world.node());

    a.transport.dial(&b.addr(), None, 7);
    let (at_a, seen_by_a, dialed) = a.up().await;
    let (at_b, seen_by_b, accepted) = b.up().await;

    assert_eq!((seen_by_a, seen_by_b), (b.id, a.id));
    assert_eq!((dialed, accepted), (Some(7), None));
    assert_ne!(at_a, at_b, "a link number is unique in the process");
}

async fn a_foreign_key_is_refused<W: World>(world: W) {
    let (mut a, b) = (world.node(), world.node());
    let expected = NodeKey::generate().unwrap().id();

    a.transport.dial(&b.addr(), Some(expected), 3);

    assert_eq!(a.dial_failed().await, (3, DialError::WrongKey { expected, found: b.id }));
}

async fn a_node_that_dials_itself_is_told<W: World>(world: W) {
    let mut a = world.node();

    a.transport.dial(&a.addr(), None, 4);

    assert_eq!(a.dial_failed().await, (4, DialError::OwnKey));
}

async fn a_dial_to_nobody_fails<W: World>(world: W) {
    let mut a = world.node();
    let nobody = world.nobody();

    a.transport.dial(&nobody, None, 5);
    let (token, error) = a.dial_failed().await;

    assert_eq!(token, 5);
    assert!(matches!(error, DialError::NobodyThere { .. } | DialError::TimedOut { .. }), "{error:?}");
    assert!(error.to_string().contains(&nobody), "{error}");
}

async fn a_text_that_is_no_address_fails<W: World>(world: W) {
    let mut a = world.node();

    a.transport.dial("no address", None, 6);
    let (token, error) = a.dial_failed().await;

    assert_eq!(token, 6);
    assert!(matches!(error, DialError::BadAddress { .. }), "{error:?}");
}

async fn each_lane_keeps_its_order<W: World>(world: W) {
    const PER_LANE: u32 = 2_000;
    let (mut a, link, mut b, _) = pair(&world).await;

    let sender = tokio::spawn(async move {
        for n in 0..PER_LANE {
            for lane in Lane::ALL {
                a.send(link, lane, framed(&[&[lane.number()][..], &n.to_le_bytes()].concat())).await;
            }
        }
        a
    });
    let received = b.frames(PER_LANE as usize * Lane::COUNT).await;

    for lane in Lane::ALL {
        let numbers: Vec<u32> = received
            .iter()
            .filter(|(l, _)| *l == lane)
            .map(|(_, frame)| {
                assert_eq!(frame[0], lane.number());
                u32::from_le_bytes(frame[1..].try_into().unwrap())
            })
            .collect();
        assert!(numbers.iter().copied().eq(0..PER_LANE), "lane {lane:?}");
    }
    drop(sender.await.unwrap());
}

async fn frames_of_every_size_arrive_unchanged<W: World>(world: W) {
    let (mut a, link, mut b, _) = pair(&world).await;
    let sizes = [1, 2, 1_199, 1_200, 4_095, 65_535, 65_536, 65_537, 262_144, 1_000_000, MAX_FRAME];
    let frame = |len: usize| (0..len).map(|i| (i * 31 + len) as u8).collect::<Vec<u8>>();

    let sender = tokio::spawn(async move {
        for len in sizes {
            a.send(link, lane(2), framed(&frame(len))).await;
        }
        // One frame in pieces, and several frames in one chunk.
        for piece in framed(&frame(300)).chunks(7) {
            a.send(link, lane(3), piece.to_vec()).await;
        }
        a.send(
            link,
            Lane::CONTROL,
            [framed(&frame(10)), framed(&frame(20)), framed(&frame(MAX_CONTROL_FRAME))].concat(),
        )
        .await;
        a
    });
    let received = b.frames(sizes.len() + 1 + 3).await;

    let of =
        |l: Lane| received.iter().filter(|(lane, _)| *lane == l).map(|(_, f)| f.to_vec()).collect::<Vec<_>>();
    assert!(of(lane(2)) == sizes.map(frame), "the lane's frames differ");
    assert!(of(lane(3)) == [frame(300)], "the frame in pieces differs");
    assert!(of(Lane::CONTROL) == [10, 20, MAX_CONTROL_FRAME].map(frame), "the frames in one chunk differ");
    drop(sender.await.unwrap());
}

async fn a_broken_frame_closes_its_link_and_nothing_else<W: World>(world: W) {
    let len = MAX_FRAME + 1;
    let cases = [
        (
            lane(1),
            (len as u32).to_le_bytes().to_vec(),
            Violation::FrameTooLong { lane: 1, len, max: MAX_FRAME },
        ),
        (
            Lane::CONTROL,
            (MAX_CONTROL_FRAME as u32 + 1).to_le_bytes().to_vec(),
            Violation::FrameTooLong { lane: 0, len: MAX_CONTROL_FRAME + 1, max: MAX_CONTROL_FRAME },
        ),
        (
            lane(5),
            u32::MAX.to_le_bytes().to_vec(),
            Violation::FrameTooLong { lane: 5, len: u32::MAX as usize, max: MAX_FRAME },
        ),
        (lane(4), vec![0; 4], Violation::EmptyFrame { lane: 4 }),
    ];
    let mut b = world.node();
    let mut honest = world.node();
    honest.transport.dial(&b.addr(), None, 0);
    let (honest_link, ..) = honest.up().await;
    b.up().await;
    for (lane, bytes, violation) in cases {
        let mut a = world.node();
        a.transport.dial(&b.addr(), None, 1);
        let (at_a, ..) = a.up().await;
        let (at_b, ..) = b.up().await;

        a.transport.send(at_a, lane, vec![Bytes::from(bytes)]).unwrap();

        assert_eq!(b.down().await, (at_b, DownReason::Violation(violation)));
        let (_, told) = a.down().await;
        let DownReason::Remote { reason, .. } = &told else { panic!("{told:?}") };
        assert_eq!(reason, &violation.to_string());
    }

    honest.send(honest_link, Lane::CONTROL, framed(b"still here")).await;
    assert_eq!(b.frames(1).await, [(Lane::CONTROL, Bytes::from_static(b"still here"))]);
}

async fn a_receiver_that_does_not_read_stops_the_sender<W: World>(world: W) {
    const CHUNK: usize = 64 * 1024;
    let (mut a, link, mut b, _) = pair(&world).await;
    let chunk = framed(&vec![1; CHUNK - 4]);

    // Whatever the network takes in, it ends at some point well below this.
    let mut sent = 0;
    let mut stuck_at = None;
    while stuck_at.is_none() {
        assert!(sent < 2_000, "the sender was never stopped");
        while a.transport.buffered(link) < HIGH_WATER {
            a.transport.send(link, lane(5), vec![Bytes::from(chunk.clone())]).unwrap();
            sent += 1;
        }
        stuck_at =
            timeout(Duration::from_millis(300), a.next()).await.err().map(|_| a.transport.buffered(link));
    }
    let stuck_at = stuck_at.unwrap();
    assert!((HIGH_WATER..HIGH_WATER + CHUNK).contains(&stuck_at), "stopped at {stuck_at}");
    let more = a.transport.send(link, lane(5), vec![Bytes::from(vec![0; MAX_FRAME + 5])]);
    assert_eq!(more, Err(SendError::Full { buffered: stuck_at, more: MAX_FRAME + 5 }));

    let reader = tokio::spawn(async move { b.frames(sent).await.len() });
    let event = a.next().await;

    assert!(matches!(event, TransportEvent::Writable { link: l } if l == link), "{event:?}");
    assert!(a.transport.buffered(link) < LOW_WATER);
    assert_eq!(reader.await.unwrap(), sent);
}

async fn a_full_lane_does_not_hold_up_another<W: World>(world: W) {
    let (mut a, link, mut b, _) = pair(&world).await;
    // Half a frame: the receiver cannot hand out anything of this lane.
    a.send(link, lane(5), framed(&vec![1; 500_000])[..400_000].to_vec()).await;

    a.send(link, Lane::CONTROL, framed(b"urgent")).await;
    let received = b.frames(1).await;

    assert_eq!(received, [(Lane::CONTROL, Bytes::from_static(b"urgent"))]);
}

async fn a_graceful_close_loses_nothing_that_was_queued<W: World>(world: W) {
    const FRAMES: usize = 200;
    let (mut a, at_a, mut b, at_b) = pair(&world).await;
    for n in 0..FRAMES {
        let frame = [&n.to_le_bytes()[..], &[9; 1_000]].concat();
        a.transport.send(at_a, lane((n % 6) as u8), vec![Bytes::from(framed(&frame))]).unwrap();
    }

    a.transport.close(at_a, CLOSE_OK, "good night");
    let refused = a.transport.send(at_a, Lane::CONTROL, vec![Bytes::from(framed(b"late"))]);

    assert_eq!(refused, Err(SendError::Gone));
    assert_eq!(a.transport.buffered(at_a), 0);
    assert_eq!(b.frames(FRAMES).await.len(), FRAMES);
    assert_eq!(b.down().await, (at_b, DownReason::Remote { code: CLOSE_OK, reason: "good night".into() }));
    assert_eq!(a.down().await, (at_a, DownReason::Local { code: CLOSE_OK }));
}

async fn a_close_with_a_code_tells_the_peer_why<W: World>(world: W) {
    let (mut a, at_a, mut b, at_b) = pair(&world).await;
    let long = "é".repeat(1_000);

    b.transport.close(at_b, 77, &long);

    let (_, reason) = a.down().await;
    assert_eq!(reason, DownReason::Remote { code: 77, reason: "é".repeat(128) });
    assert_eq!(b.down().await, (at_b, DownReason::Local { code: 77 }));
    assert_eq!(b.transport.send(at_b, Lane::CONTROL, vec![Bytes::from(framed(b"x"))]), Err(SendError::Gone));
    a.transport.close(at_a, 1, "a link that is gone is no fault");
}

async fn a_shutdown_lets_everything_out_and_ends_every_link<W: World>(world: W) {
    let (mut a, at_a, mut b, at_b) = pair(&world).await;
    a.transport.send(at_a, lane(1), vec![Bytes::from(framed(b"last words"))]).unwrap();

    timeout(DEADLINE, a.transport.shutdown("maintenance")).await.expect("a shutdown ends");

    assert_eq!(b.frames(1).await, [(lane(1), Bytes::from_static(b"last words"))]);
    assert_eq!(b.down().await, (at_b, DownReason::Remote { code: CLOSE_OK, reason: "maintenance".into() }));
    assert_eq!(a.down().await, (at_a, DownReason::Local { code: CLOSE_OK }));
    a.transport.dial(&b.addr(), None, 9);
    assert_eq!(a.dial_failed().await, (9, DialError::ShutDown));
}

async fn a_node_that_vanishes_is_seen<W: World>(world: W) {
    let (a, _, mut b, at_b) = pair(&world).await;

    drop(a);

    let (link, reason) = b.down().await;
    assert_eq!(link, at_b);
    assert!(!matches!(reason, DownReason::Local { .. } | DownReason::Violation(_)), "{reason:?}");
}

async fn two_nodes_that_dial_each_other_at_once_get_two_links<W: World>(world: W) {
    let (mut a, mut b) = (world.node(), world.node());

    a.transport.dial(&b.addr(), Some(b.id), 1);
    b.transport.dial(&a.addr(), Some(a.id), 2);
    let ups_of_a = [a.up().await, a.up().await];
    let ups_of_b = [b.up().await, b.up().await];

    for (ups, peer, token) in [(ups_of_a, b.id, 1), (ups_of_b, a.id, 2)] {
        assert!(ups.iter().all(|(_, p, _)| *p == peer));
        assert_eq!(ups.iter().filter(|(.., dialed)| *dialed == Some(token)).count(), 1);
        assert_ne!(ups[0].0, ups[1].0);
    }
}

macro_rules! conformance {
    ($transport:ident, $world:ty, $($case:ident)*) => {
        mod $transport {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(<$world>::default()).await;
                }
            )*
        }
    };
    ($transport:ident, $world:ty) => {
        conformance! { $transport, $world,
            both_ends_know_each_other
            a_foreign_key_is_refused
            a_node_that_dials_itself_is_told
            a_dial_to_nobody_fails
            a_text_that_is_no_address_fails
            each_lane_keeps_its_order
            frames_of_every_size_arrive_unchanged
            a_broken_frame_closes_its_link_and_nothing_else
            a_receiver_that_does_not_read_stops_the_sender
            a_full_lane_does_not_hold_up_another
            a_graceful_close_loses_nothing_that_was_queued
            a_close_with_a_code_tells_the_peer_why
            a_shutdown_lets_everything_out_and_ends_every_link
            a_node_that_vanishes_is_seen
            two_nodes_that_dial_each_other_at_once_get_two_links
        }
    };
}

conformance!(memory, super::InMemory);

conformance!(quic, super::OverQuic);

/// Nodes on loopback.
#[derive(Default)]
struct OverQuic;

impl World for OverQuic {
    fn node(&self) -> Node {
        let key = NodeKey::generate().unwrap();
        let (sender, events) = events();
        let transport = Box::new(QuicTransport::bind(loopback(), &key, sender).unwrap());
        Node { id: key.id(), transport, events }
    }

    fn nobody(&self) -> String {
        // A port that was free a moment ago; nothing on this machine takes ports in this range by itself.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().to_string()
    }
}

fn loopback() -> QuicConfig {
    QuicConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], ..QuicConfig::default() }
}

/// Nodes of one hub.
#[derive(Default)]
struct InMemory {
    hub: Hub,
}

impl World for InMemory {
    fn node(&self) -> Node {
        let id = NodeKey::generate().unwrap().id();
        let (sender, events) = events();
        let transport = Box::new(MemoryTransport::bind(&self.hub, &id.short(), id, sender).unwrap());
        Node { id, transport, events }
    }

    fn nobody(&self) -> String {
        "mem:nobody".to_owned()
    }
}
