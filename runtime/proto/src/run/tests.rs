use super::*;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn head(dest: u8) -> Head {
    Head {
        flow: Flow {
            origin: NodeId(key().verifying_key().to_bytes()),
            epoch: 5,
            dest: Dest::Node(NodeId([dest; 32])),
        },
        seq_base: 0,
        sent_ms: 1000,
        expiry_ms: 2000,
        class: Class::Normal,
        hop_limit: DEFAULT_HOP_LIMIT,
        durable: false,
        internal: false,
    }
}

fn draft(dest: u8, first_seq: u64, payloads: &[&'static [u8]]) -> Draft {
    Draft { head: head(dest), first_seq, payloads: payloads.iter().map(|p| Bytes::from_static(p)).collect() }
}

fn frame_of(run: &Run) -> Bytes {
    run.to_bytes(3).slice(1..)
}

#[test]
fn one_signature_covers_a_flush_to_two_destinations() {
    let runs = seal(&key(), vec![draft(1, 7, &[b"a", b"bb"]), draft(2, 0, &[b"c"])]);

    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].signature, runs[1].signature);
    for (run, seqs) in runs.iter().zip([7..9, 0..1]) {
        let (back, hops) = Run::from_bytes(&run.to_bytes(3)).expect("verifies alone");
        assert_eq!((back.seqs(), hops), (seqs, 3));
        assert_eq!(back.message_id(0), run.message_id(0));
    }
}

#[test]
fn a_part_of_a_run_verifies_alone_and_keeps_its_ids() {
    let run = &seal(&key(), vec![draft(1, 0, &[b"a", b"bb", b"", b"dddd", b"e"])])[0];

    let part = run.part(1..4).part(1..3);

    let (back, _) = Run::from_bytes(&part.to_bytes(0)).expect("verifies");
    let messages: Vec<_> = back.messages().collect();
    assert_eq!(messages, [(2, Bytes::new()), (3, Bytes::from_static(b"dddd"))]);
    assert_eq!(back.message_id(1), run.message_id(3));
}

// QP-19: whatever bit of the signed part changes, nobody accepts the message. P03.
#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let runs = seal(&key(), vec![draft(1, 0, &[b"hello", b"world"]), draft(2, 0, &[b"!"])]);
    let bytes = runs[0].to_bytes(0);
    let hops = 1;
    for at in (0..bytes.len()).filter(|at| *at != hops) {
        for bit in 0..8 {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << bit;
            assert!(Run::from_bytes(&bad.into()).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_truncated_or_lengthened_frame_is_refused() {
    let frame = frame_of(&seal(&key(), vec![draft(1, 0, &[b"hello"])])[0]);
    for len in 0..frame.len() {
        assert!(Unverified::decode(&frame.slice(..len), &Verified::default()).is_err(), "{len} bytes");
    }
    assert!(Unverified::decode(&[&frame[..], b"x"].concat().into(), &Verified::default()).is_err());
}

#[test]
fn a_large_flush_is_cut_into_full_batches() {
    let payloads: Vec<Bytes> = (0..2500u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    let runs = seal(&key(), vec![Draft { head: head(1), first_seq: 0, payloads }]);

    let lens: Vec<_> = runs.iter().map(Run::len).collect();
    assert_eq!(lens, [1024, 1024, 452]);
    assert_eq!(runs[2].seqs(), 2048..2500);
    assert!(runs.iter().all(|run| Run::from_bytes(&run.to_bytes(0)).is_ok()));
}
