//! A disk that fills up: nothing is acknowledged that is not stored, all else goes on, and room heals it.
//!
//! Needs the right to mount a small tmpfs; without it the test says so and ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mesh_node::api::{Request, Status, code};
use mesh_node::control::client::Client;
use mesh_node::control::frame::{Target, Wanted};
use mesh_node::message::{Delivery, SendOptions};

use crate::harness::{DEADLINE, Place};

/// A small disk, unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", at.to_str().unwrap()])
            .then(|| SmallDisk(at.to_owned()))
    }

    fn grow(&self) {
        assert!(run("mount", &["-o", "remount,size=64m", self.0.to_str().unwrap()]), "it grows");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

// C09, I1.
#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_stops_nothing_else() {
    let mut place = Place::new();
    let Some(disk) = SmallDisk::mount(&place.data_dir("alice")) else {
        eprintln!("NOT RUN: a full disk needs the right to mount a tmpfs");
        return;
    };
    let bob = place.up("bob", &[]);
    place.up("alice", &["--join", &bob, "--links", "explicit"]);
    place.knows("alice", "bob");
    let nobody = "ab".repeat(32);
    let (absent, bob) = (Target::Node(nobody), Target::Node("bob".to_owned()));
    let socket = place.socket("alice");
    let durable = SendOptions { durable: true, ..SendOptions::default() };
    let mut publisher = Client::connect(&socket).await.unwrap().publisher().await.unwrap();
    let mut control = Client::connect(&socket).await.unwrap();
    let payload = vec![7; 64 << 10];

    // Until the disk is full: then the receipt waits, or is an error, and is never false.
    let mut acknowledged = 0;
    let waiting = loop {
        publisher.send(&absent, &[&payload], durable).await.unwrap();
        match tokio::time::timeout(Duration::from_secs(3), publisher.flush()).await {
            Ok(Ok(taken)) => acknowledged = taken.stored,
            Ok(Err(_)) => break false,
            Err(_) => break true,
        }
        assert!(acknowledged < 64, "4 MiB cannot hold {acknowledged} messages of 64 KiB");
    };

    let status: Status = control.call(&Request::Status).await.unwrap();
    assert_eq!(
        status.problems.first().map(|problem| problem.code.as_str()),
        Some(code::STORE_FULL.id),
        "{status:?}"
    );
    let mut inbox =
        Client::connect(&place.socket("bob")).await.unwrap().subscribe(Wanted::Inbox(None)).await.unwrap();
    let mut ordinary = Client::connect(&socket).await.unwrap().publisher().await.unwrap();
    ordinary.send(&bob, &[b"still flows"], SendOptions::default()).await.unwrap();
    let delivered = tokio::time::timeout(DEADLINE, inbox.next()).await.unwrap().unwrap();
    let Some(Delivery::Batch(messages)) = delivered else { panic!("an inbox has no gaps") };
    assert_eq!(&messages[0].payload[..], b"still flows");

    disk.grow();
    place.until(&["-N", "alice", "status"], |status| status["problems"].as_array().unwrap().is_empty());
    if waiting {
        let taken = tokio::time::timeout(DEADLINE, publisher.flush()).await.unwrap().unwrap();
        assert_eq!(taken.stored, acknowledged + 1);
        acknowledged = taken.stored;
    }
    place.kill("alice");
    place.up("alice", &["--links", "explicit"]);
    let held = place.json(&["-N", "alice", "status"])["held"]["messages"].as_u64().unwrap();
    assert!(held >= acknowledged, "{acknowledged} acknowledged, {held} there");
    place.kill("alice");
}
