//! Prints what decisions and hand-overs cost on this machine: `cargo run --release --example bench`.

use mesh_plugin_host::{Engine, Grants, bench, builtin, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(None)?;
    for bytes in builtin::ALL {
        let loaded = load(&engine, bytes, Grants::ALL)?;
        println!("{} {} bytes, compiled in {:?}", loaded.revision(), bytes.len(), loaded.compile_time());
    }
    for row in bench::policy(&engine)? {
        println!(
            "{:9} {:5} wasm {:7.1} native {:>5} ns/msg, with a journal {:.2}x",
            row.slot,
            row.batch,
            row.wasm_ns_per_msg,
            row.native_ns_per_msg.map_or_else(|| "-".to_owned(), |native| format!("{native:.1}")),
            row.journal_ratio
        );
    }
    for row in bench::swap(&engine)? {
        println!("{row:?}");
    }
    Ok(())
}
