//! What a guest finds when it looks for a way out.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

unsafe extern "C" {
    fn getentropy(into: *mut u8, len: usize) -> i32;
}

/// Everything that WASI could tell, a line each.
pub fn everything() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let begun = Instant::now();
    let spun = (0..1_000u64).fold(0, |sum, turn| std::hint::black_box(sum ^ turn));
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    [
        format!("clock {now}"),
        format!("elapsed {:?} after {spun}", begun.elapsed()),
        format!("random {:016x}", random()),
        format!("hash {:016x}", RandomState::new().hash_one(7)),
        format!("environment {}", std::env::vars().count()),
        format!("arguments {}", std::env::args().count()),
        format!("directory {}", std::env::current_dir().is_ok_and(|dir| dir.join("x").exists())),
        format!("read {}", std::fs::read("/etc/passwd").is_ok()),
        format!("write {}", std::fs::write("/tmp/out", b"x").is_ok()),
        format!("list {}", std::fs::read_dir("/").is_ok()),
        format!("dial {}", std::net::TcpStream::connect("127.0.0.1:22").is_ok()),
        format!("listen {}", std::net::TcpListener::bind("127.0.0.1:0").is_ok()),
        format!("datagrams {}", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        format!("names {}", std::net::ToSocketAddrs::to_socket_addrs("example.org:80").is_ok()),
        format!("input {:?}", read.ok()),
    ]
    .join("\n")
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: it writes that many bytes there.
    let failed = unsafe { getentropy(bytes.as_mut_ptr(), bytes.len()) };
    assert_eq!(failed, 0, "there is randomness");
    u64::from_le_bytes(bytes)
}
