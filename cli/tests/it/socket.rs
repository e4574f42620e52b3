//! The control socket against clients that are wrong, slow or too many.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mesh_node::api::{Request, Status, code};
use mesh_node::control::client::Client;
use mesh_node::control::frame::{Target, Wanted};
use mesh_node::control::server::MAX_CLIENTS;
use mesh_node::message::{Delivery, SendOptions};

use crate::harness::Place;

fn raw(header: &[u8], body_len: u32) -> Vec<u8> {
    [&(header.len() as u32).to_le_bytes()[..], &body_len.to_le_bytes(), header].concat()
}

fn answer(place: &Place, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(place.socket("ada")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_client_that_sends_rubbish_loses_its_connection_and_nobody_else_does() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let call = br#"{"do":"call","v":1,"request":{"call":"status"}}"#;
    let install = br#"{"do":"call","v":1,"request":{"call":"plugin-install","origin":"x","dry_run":true}}"#;
    for (bytes, code) in [
        (vec![0xff; 64], "MESH-A102"),
        (raw(b"not json", 0), "MESH-A101"),
        (raw(br#"{"do":"dance"}"#, 0), "MESH-A101"),
        (raw(call, 1), "MESH-A102"),
        (raw(install, u32::MAX), "MESH-A102"),
        (raw(br#"{"do":"call","v":9,"request":{"call":"status"}}"#, 0), "MESH-A105"),
        (raw(br#"{"do":"ack","offset":1}"#, 0), "MESH-A101"),
        (raw(call, 0)[..20].to_vec(), "MESH-A106"),
        ([raw(br#"{"do":"publish","v":1}"#, 0), raw(call, 0)].concat(), "MESH-A101"),
        ([raw(br#"{"do":"subscribe","v":1,"what":{"topic":"t"}}"#, 0), raw(call, 0)].concat(), "MESH-A101"),
    ] {
        let said = answer(&place, &bytes);
        assert!(said.contains(code), "{code}: {said}");
        assert_eq!(place.json(&["status"])["name"], "ada");
    }
}

#[test]
fn a_batch_that_does_not_fit_its_body_ends_that_publisher() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let batch = |lens: &str, body: &[u8]| {
        let to = r#"{"topic":"t"}"#;
        let header = format!(
            r#"{{"do":"batch","to":{to},"lens":{lens},"class":"normal","ttl_ms":null,"durable":false,"hop_limit":9}}"#
        );
        [raw(header.as_bytes(), body.len() as u32), body.to_vec()].concat()
    };
    for (lens, body) in [("[3]", &b"ab"[..]), ("[1]", b"ab"), ("[]", b""), ("[4294967295,1]", b"ab")] {
        let said = answer(&place, &[raw(br#"{"do":"publish","v":1}"#, 0), batch(lens, body)].concat());
        assert!(said.contains("MESH-A101"), "{lens}: {said}");
    }
}

#[tokio::test]
async fn too_many_clients_are_told_so_and_there_is_room_again() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let socket = place.socket("ada");
    let mut clients = Vec::new();
    for _ in 0..MAX_CLIENTS {
        let mut client = Client::connect(&socket).await.unwrap();
        client.call::<Status>(&Request::Status).await.unwrap();
        clients.push(client);
    }

    let mut one_more = Client::connect(&socket).await.unwrap();
    let refused = one_more.call::<Status>(&Request::Status).await.unwrap_err();
    assert!(refused.is(&code::TOO_MANY_CLIENTS), "{refused}");

    clients.truncate(MAX_CLIENTS - 1);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let mut client = Client::connect(&socket).await.unwrap();
        if client.call::<Status>(&Request::Status).await.is_ok() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "there is no room again");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_connection_makes_many_calls_and_survives_failed_ones() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let mut client = Client::connect(&place.socket("ada")).await.unwrap();
    for _ in 0..3 {
        let unknown =
            client.call::<Status>(&Request::Ping { peer: "nobody".to_owned(), count: 1 }).await.unwrap_err();
        assert!(unknown.is(&code::NO_SUCH_NODE), "{unknown}");
        assert_eq!(client.call::<Status>(&Request::Status).await.unwrap().name, "ada");
    }
}

#[tokio::test]
async fn the_streams_keep_the_order_and_every_message() {
    const MESSAGES: u64 = 50_000;
    let mut place = Place::new();
    place.up("ada", &[]);
    let socket = place.socket("ada");
    let mut inbox = Client::connect(&socket).await.unwrap().subscribe(Wanted::Inbox(None)).await.unwrap();
    let mut publisher = Client::connect(&socket).await.unwrap().publisher().await.unwrap();

    let to = Target::Node("ada".to_owned());
    let send = async {
        let numbers: Vec<[u8; 8]> = (0..MESSAGES).map(u64::to_le_bytes).collect();
        for chunk in numbers.chunks(1000) {
            let payloads: Vec<&[u8]> = chunk.iter().map(|number| &number[..]).collect();
            publisher.send(&to, &payloads, SendOptions::default()).await.unwrap();
        }
        publisher.flush().await.unwrap()
    };
    let receive = async {
        let mut next = 0;
        while next < MESSAGES {
            let Some(Delivery::Batch(batch)) = inbox.next().await.unwrap() else {
                panic!("an inbox has no gaps")
            };
            for message in &batch {
                assert_eq!(*message.payload, next.to_le_bytes());
                next += 1;
            }
            inbox.ack(batch.last().unwrap().offset.unwrap()).await.unwrap();
        }
        inbox.finish().await.unwrap();
    };
    let (taken, ()) = tokio::join!(send, receive);

    assert_eq!(taken.messages, MESSAGES);
    place.until(&["status"], |status| status["inbox"]["messages"] == 0);
}

#[tokio::test]
async fn a_refused_batch_leaves_the_publisher_working() {
    let mut place = Place::new();
    place.up("ada", &[]);
    let mut publisher = Client::connect(&place.socket("ada")).await.unwrap().publisher().await.unwrap();
    let options = SendOptions::default();

    publisher.send(&Target::Node("nobody".to_owned()), &[b"x"], options).await.unwrap();
    let refused = publisher.flush().await.unwrap_err();
    assert!(refused.is(&code::NO_SUCH_NODE), "{refused}");

    publisher.send(&Target::Node("ada".to_owned()), &[b"x"], options).await.unwrap();
    assert_eq!(publisher.flush().await.unwrap().messages, 1);
}
