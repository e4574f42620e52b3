use ed25519_dalek::SigningKey;

use super::*;

fn samples() -> Vec<Control> {
    let node = NodeId([3; 32]);
    let topic = TopicId::of("chat");
    let offers = vec![Offer { origin: node, epoch: 1, first: 2, count: 3, hops: 4 }];
    vec![
        Control::Hello { epoch: 9, heartbeat_ms: 500, samples: true },
        Control::Ping { nonce: 1 },
        Control::Pong { nonce: 1 },
        Control::Ack { runs: [1, 2, 3, 4, 5] },
        Control::Records(vec![]),
        Control::Shuffle(vec![]),
        Control::Routes(vec![Route { node, seqno: 1, cost_us: 2, hops: 3 }]),
        Control::SeqnoRequest { node, seqno: 4, hops: 5 },
        Control::WayRequest { node, hops: 5 },
        Control::Introduce { node },
        Control::Prune { topic },
        Control::Graft { topic, once: true, offers: offers.clone() },
        Control::IHave { topic, offers },
        Control::Goodbye,
        Control::Digest([7; 16]),
        Control::Versions { first: NodeId([0; 32]), last: node, rows: vec![(node, 5)] },
        Control::Want(vec![node]),
        Control::Part(Parting::Full),
        Control::Links(vec![node, NodeId([4; 32])]),
        Control::Heartbeat { count: 3 },
        Control::Accusations(vec![Accusation::sign(&SigningKey::from_bytes(&[1; 32]), node, 6)]),
    ]
}

// P02, P03: decode of encode is the same, and every cut or surplus byte is refused.
#[test]
fn frames_come_back_and_no_cut_or_lengthened_frame_does() {
    for control in samples() {
        let bytes = control.encode();
        let len = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
        assert_eq!(len, bytes.len() - 4);
        let frame = bytes.slice(4..);
        assert_eq!(Control::decode(&frame), Ok(Some(control.clone())));
        for cut in 0..frame.len() {
            assert!(Control::decode(&frame.slice(..cut)).is_err(), "{control:?} cut at {cut}");
        }
        assert!(Control::decode(&[&frame[..], b"x"].concat().into()).is_err());
    }
}

// MN-20
#[test]
fn an_optional_unknown_frame_is_skipped_and_any_other_unknown_one_is_a_violation() {
    assert_eq!(Control::decode(&Bytes::from_static(&[0x80, 1, 2])), Ok(None));
    assert_eq!(Control::decode(&Bytes::from_static(&[0x7f])), Err(Violation::UnknownFrame { kind: 0x7f }));
    assert_eq!(Control::decode(&Bytes::from_static(&[RUN])), Err(Violation::WrongLane));
}

// P05: a count without rows costs no memory.
#[test]
fn a_count_over_the_limit_or_without_rows_is_refused() {
    assert!(matches!(
        Control::decode(&Bytes::from_static(&[ROUTES, 0xff, 0xff])),
        Err(Violation::TooLong { .. })
    ));
    assert_eq!(Control::decode(&Bytes::from_static(&[ROUTES, 0x00, 0x02])), Err(Violation::Truncated));
}

// P01: no bytes make it panic.
#[test]
fn random_bytes_are_read_or_refused() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect();
        if let Some(kind) = bytes.first_mut() {
            *kind %= 0x17;
        }
        let bytes = Bytes::from(bytes);
        let _ = Control::decode(&bytes);
        let _ = crate::run::Unverified::decode(&bytes, &Verified::default());
    }
}
