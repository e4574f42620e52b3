use super::*;
use crate::api::PluginRef;

fn message(seq: u64, payload: &'static [u8]) -> Message {
    Message {
        id: MessageId([seq as u8; 32]),
        origin: NodeId([7; 32]),
        topic: seq.is_multiple_of(2).then(|| "news".into()),
        class: Class::High,
        seq,
        hops: 2,
        sent_ms: 1_795_257_667_250,
        offset: (!seq.is_multiple_of(2)).then_some(seq),
        payload: Bytes::from_static(payload),
    }
}

async fn read_back(bytes: &[u8]) -> Result<Option<(ToNode, Bytes)>, FrameError> {
    FrameReader::new(bytes).next::<ToNode>().await
}

fn raw(header_len: u32, body_len: u32, rest: &[u8]) -> Vec<u8> {
    [&header_len.to_le_bytes()[..], &body_len.to_le_bytes(), rest].concat()
}

#[tokio::test]
async fn frames_come_out_as_they_went_in_however_the_bytes_are_cut() {
    let install = Request::PluginInstall {
        origin: "x.wasm".to_owned(),
        grants: Vec::new(),
        dry_run: false,
        allow_large: false,
    };
    let frame = ToNode::Call { v: VERSION, request: install };
    let mut bytes = Vec::new();
    FrameWriter::new(&mut bytes).write(&frame, &[b"\0as", b"m"]).await.unwrap();
    FrameWriter::new(&mut bytes).write(&ToNode::Ack { offset: 9 }, &[]).await.unwrap();

    let (client, node) = tokio::io::duplex(3);
    let write = async {
        let mut client = client;
        client.write_all(&bytes).await.unwrap();
    };
    let read = async {
        let mut reader = FrameReader::new(node);
        let mut got = Vec::new();
        while let Some(next) = reader.next::<ToNode>().await.unwrap() {
            got.push(next);
        }
        got
    };
    let ((), got) = tokio::join!(write, read);

    assert_eq!(got, [(frame, Bytes::from_static(b"\0asm")), (ToNode::Ack { offset: 9 }, Bytes::new())]);
}

#[tokio::test]
async fn the_largest_component_fits_into_an_answer() {
    let component = vec![7; mesh_plugin_host::limits::COMPONENT_BYTES];
    let plugin =
        PluginRef { plugin: "acme/geo".into(), version: "1.0.0".into(), revision: "blake3:07".into() };
    let fetched = Fetched { plugin, is_package: false, bytes: component.clone().into() };
    let mut bytes = Vec::new();

    FrameWriter::new(&mut bytes).write(&FromNode::Component(fetched.clone()), &[&component]).await.unwrap();

    let (header, body) = FrameReader::new(&bytes[..]).next::<FromNode>().await.unwrap().unwrap();
    let bare = Fetched { bytes: Bytes::new(), ..fetched };
    assert_eq!(header, FromNode::Component(bare));
    assert!(body == component);
}

#[tokio::test]
async fn oversized_and_malformed_frames_are_refused_before_anything_is_allocated() {
    let ack = br#"{"do":"ack","offset":1}"#;
    let ack_len = ack.len() as u32;
    for (bytes, want) in [
        (raw(u32::MAX, 0, b""), "a header of 4294967295 bytes exceeds the limit of 65536"),
        (raw(ack_len, u32::MAX, ack), "a body of 4294967295 bytes exceeds the limit of 0"),
        (raw(3, 0, b"{}}"), "not understood: "),
        (raw(2, 0, b"{}"), "not understood: missing field `do`"),
        (raw(ack_len, 0, &ack[..9]), "the connection ended in the middle of a frame"),
        (vec![1, 2, 3], "the connection ended in the middle of a frame"),
    ] {
        let error = read_back(&bytes).await.unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }
    assert!(read_back(&[]).await.unwrap().is_none());
}

#[tokio::test]
async fn no_truncation_of_a_frame_is_taken_for_a_frame() {
    let mut bytes = Vec::new();
    let batch = Batch::new(Target::Topic("t".to_owned()), vec![2, 0, 1], SendOptions::default());
    FrameWriter::new(&mut bytes).write(&ToNode::Batch(batch), &[b"abc"]).await.unwrap();

    for len in 1..bytes.len() {
        assert!(matches!(read_back(&bytes[..len]).await, Err(FrameError::Truncated)), "{len}");
    }
}

#[test]
fn messages_survive_their_columns() {
    let messages = vec![message(0, b""), message(1, b"abc"), message(2, b"defg")];

    let (columns, parts) = pack(&messages);
    let body = Bytes::from(parts.concat());

    assert_eq!(columns.origins.len(), 1);
    assert_eq!(unpack(&columns, body).unwrap(), messages);
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let messages = vec![message(1, b"abc"), message(2, b"defg")];
    let (good, parts) = pack(&messages);
    let body = Bytes::from(parts.concat());
    let break_one = |change: fn(&mut Columns)| {
        let mut columns = good.clone();
        change(&mut columns);
        unpack(&columns, body.clone())
    };

    assert!(break_one(|c| c.seq.truncate(1)).is_err());
    assert!(break_one(|c| c.origin[0] = 9).is_err());
    assert!(break_one(|c| c.topic[1] = Some(9)).is_err());
    assert!(break_one(|c| c.class[0] = 5).is_err());
    assert!(break_one(|c| c.len[1] = 5).is_err());
    assert!(break_one(|c| c.len[1] = 3).is_err());
    assert!(break_one(|c| c.origins[0].truncate(5)).is_err());
    assert!(unpack(&good, body.slice(..40)).is_err());
}

#[tokio::test]
async fn a_frame_of_messages_never_exceeds_its_limits() {
    let mut many: Vec<Message> = (0..2000).map(|seq| message(u64::MAX - seq, b"x")).collect();
    for (row, message) in many.iter_mut().enumerate().skip(600) {
        message.origin = NodeId([(row % 251) as u8; 32]);
    }
    many[5].payload = Bytes::from(vec![0; MAX_BODY - 100]);

    let mut sent = 0;
    while sent < many.len() {
        let len = batch_len(&many[sent..]);
        let (columns, parts) = pack(&many[sent..sent + len]);
        let mut bytes = Vec::new();
        FrameWriter::new(&mut bytes).write(&FromNode::Messages(columns), &parts).await.unwrap();
        let (header, body) = FrameReader::new(&bytes[..]).next::<FromNode>().await.unwrap().unwrap();
        let FromNode::Messages(columns) = header else { panic!("{header:?}") };
        assert_eq!(unpack(&columns, body).unwrap(), many[sent..sent + len]);
        sent += len;
    }
    assert_eq!(batch_len(&[]), 0);
}

#[test]
fn batches_must_fill_their_body_exactly() {
    let body = Bytes::from_static(b"abcd");
    assert_eq!(split(&[1, 0, 3], body.clone()).unwrap(), ["a", "", "bcd"]);
    for lens in [&[][..], &[1, 2], &[5], &[u32::MAX, u32::MAX], &[0; MAX_BATCH + 1]] {
        assert!(split(lens, body.clone()).is_err(), "{}", lens.len());
    }
}

// What comes out may be right or refused; what must not happen is a panic, or a frame that breaks its limits.
#[tokio::test]
async fn damaged_frames_are_refused_or_whole() {
    let mut random = fastrand::Rng::with_seed(7);
    let messages: Vec<Message> = (0..5).map(|seq| message(seq, b"payload")).collect();
    let (columns, parts) = pack(&messages);
    let mut good = Vec::new();
    FrameWriter::new(&mut good).write(&FromNode::Messages(columns), &parts).await.unwrap();
    let (mut refused, mut whole) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len());
            bytes[place] = random.u8(..);
        }
        match FrameReader::new(&bytes[..]).next::<FromNode>().await {
            Ok(Some((FromNode::Messages(columns), body))) => match unpack(&columns, body) {
                Ok(messages) => whole += usize::from(messages.len() <= MAX_BATCH),
                Err(_) => refused += 1,
            },
            Ok(_) | Err(_) => refused += 1,
        }
    }
    assert!(refused > 1000 && whole > 1000 && refused + whole == 20_000, "{refused} {whole}");
}
