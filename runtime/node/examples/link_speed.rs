//! Measures a bare quinn stream and a [`Transport`] link, each between two processes on loopback:
//! `cargo run --release -p mesh-node --example link_speed -- [SIZE] [SECS] [ROUNDS]`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mesh_node::bench::{baseline_receive, baseline_send, peak_rss_mib, process_cpu};
use mesh_node::keys::NodeKey;
use mesh_node::transport::quic::{QuicConfig, QuicTransport};
use mesh_node::transport::{CLOSE_OK, EventReceiver, HIGH_WATER, Lane, Transport, TransportEvent, events};

const LISTEN: &str = "127.0.0.1:0";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, default: f64| args.get(n).and_then(|a| a.parse().ok()).unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match args.first().map(String::as_str) {
        Some("bare-receive") => runtime.block_on(bare_receive(number(1, 256.0) as usize)),
        Some("link-receive") => runtime.block_on(link_receive(number(1, 256.0) as usize)),
        _ => {
            let (size, secs, rounds) = (number(0, 256.0) as usize, number(1, 3.0), number(2, 3.0) as usize);
            for _ in 0..rounds {
                for mode in ["bare", "link"] {
                    round(&runtime, mode, size, secs)?;
                }
            }
            Ok(())
        }
    }
}

fn round(runtime: &tokio::runtime::Runtime, mode: &str, size: usize, secs: f64) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([&format!("{mode}-receive"), &size.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let addr = lines.next().ok_or("the receiver said nothing")??;
    let cpu = process_cpu();
    let sent = match mode {
        "bare" => runtime.block_on(baseline_send(addr.parse()?, size, secs))?.msgs,
        _ => runtime.block_on(link_send(&addr, size, secs))?,
    };
    let tx_us = (process_cpu() - cpu).as_secs_f64() * 1e6 / sent as f64;
    println!("{mode} {} tx_cpu_us_per_msg={tx_us:.3}", lines.next().ok_or("no report")??);
    child.wait()?;
    Ok(())
}

async fn bare_receive(size: usize) -> Result<()> {
    let report = baseline_receive(LISTEN.parse()?, size, |addr| println!("{addr}")).await?;
    println!(
        "msgs_per_s={:.0} mb_per_s={:.0} gaps={} rx_cpu_us_per_msg={:.3} rx_peak_rss_mib={:.1}",
        report.msgs_per_s, report.mb_per_s, report.gaps, report.cpu_us_per_msg, report.peak_rss_mib
    );
    Ok(())
}

async fn link_receive(size: usize) -> Result<()> {
    let (transport, mut events) = open()?;
    println!("{}", transport.local_addrs()[0]);
    let (mut msgs, mut gaps, mut next) = (0_u64, 0_u64, 0_u64);
    let mut start = None;
    while let Some(event) = events.recv().await {
        match event {
            TransportEvent::Frames { frames, .. } => {
                start.get_or_insert_with(|| (Instant::now(), process_cpu()));
                for message in frames.iter().flat_map(|f| f.chunks_exact(size)) {
                    let number = u64::from_le_bytes(*message.first_chunk().ok_or("short")?);
                    msgs += 1;
                    gaps += u64::from(number != next);
                    next = number + 1;
                }
            }
            TransportEvent::Down { .. } => break,
            _ => {}
        }
    }
    let (start, cpu) = start.ok_or("no frame came")?;
    let (secs, cpu) = (start.elapsed().as_secs_f64(), process_cpu() - cpu);
    println!(
        "msgs_per_s={:.0} mb_per_s={:.0} gaps={gaps} rx_cpu_us_per_msg={:.3} rx_peak_rss_mib={:.1}",
        msgs as f64 / secs,
        (msgs * size as u64) as f64 / secs / 1e6,
        cpu.as_secs_f64() * 1e6 / msgs as f64,
        peak_rss_mib()
    );
    Ok(())
}

async fn link_send(addr: &str, size: usize, secs: f64) -> Result<u64> {
    let (transport, mut events) = open()?;
    transport.dial(addr, None, 0);
    let Some(TransportEvent::Up { link, .. }) = events.recv().await else { return Err("no link".into()) };
    let lane = Lane::of_class(2).ok_or("no lane")?;
    let (start, mut next) = (Instant::now(), 0_u64);
    while start.elapsed().as_secs_f64() < secs {
        while transport.buffered(link) >= HIGH_WATER {
            events.recv().await;
        }
        transport.send(link, lane, vec![frame(&mut next, size)])?;
        tokio::task::yield_now().await;
    }
    transport.close(link, CLOSE_OK, "done");
    while !matches!(events.recv().await, Some(TransportEvent::Down { .. }) | None) {}
    tokio::time::timeout(Duration::from_secs(3), transport.shutdown("done")).await?;
    Ok(next)
}

fn open() -> Result<(QuicTransport, EventReceiver)> {
    let (sender, events) = events();
    let config = QuicConfig { listen: vec![LISTEN.parse()?], ..QuicConfig::default() };
    Ok((QuicTransport::bind(config, &NodeKey::generate()?, sender)?, events))
}

/// One frame of about 64 KiB full of messages.
fn frame(next: &mut u64, size: usize) -> Bytes {
    let count = (65_000 / size).max(1);
    let mut frame = BytesMut::with_capacity(4 + count * size);
    frame.extend_from_slice(&((count * size) as u32).to_le_bytes());
    for _ in 0..count {
        frame.extend_from_slice(&next.to_le_bytes());
        frame.resize(frame.len() + size - 8, 0);
        *next += 1;
    }
    frame.freeze()
}
