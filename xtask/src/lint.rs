//! `cargo xtask lint`: everything that reads code.

use crate::process::{Command, Result, cargo, target_dir};
use crate::stage::Stage;
use crate::{setup, test, wit};

/// The layout is rustfmt's, guests included.
pub const FMT: Stage = Stage { name: "fmt", run: fmt };
/// Clippy has nothing to say.
pub const CLIPPY: Stage = Stage { name: "clippy", run: clippy };
/// The documentation builds and its links lead somewhere.
pub const DOCS: Stage = Stage { name: "docs", run: docs };
/// Licences, sources and bans of what comes from outside.
pub const DENY: Stage = Stage { name: "deny", run: deny };

/// All stages, in order.
pub const STAGES: [Stage; 6] = [FMT, wit::CHECK, test::PURITY, CLIPPY, DOCS, DENY];

/// The workspaces beside the main one.
const GUESTS: [&str; 2] = ["plugins/Cargo.toml", "tests/hostile/Cargo.toml"];

fn fmt() -> Result {
    setup::component("rustfmt", "fmt")?;
    for manifest in ["Cargo.toml"].into_iter().chain(GUESTS) {
        cargo(["fmt", "--all", "--check", "--manifest-path", manifest]).run()?;
    }
    Ok(())
}

fn clippy() -> Result {
    setup::component("clippy", "clippy")?;
    setup::guest_target()?;
    cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()?;
    let plugins = target_dir()?.join("plugins");
    cargo(["clippy", "--locked", "--all-targets", "--manifest-path", "plugins/Cargo.toml", "--target-dir"])
        .arg(plugins)
        .args(["--", "-D", "warnings"])
        .run()
}

fn docs() -> Result {
    setup::guest_target()?;
    cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").run()
}

fn deny() -> Result {
    setup::cargo_deny()?;
    // The guests too: the binary carries them.
    for manifest in ["Cargo.toml", "plugins/Cargo.toml"] {
        deny_check(manifest).args(["bans", "licenses", "sources"]).run()?;
    }
    // The list of known holes lives in a repository that cannot be reached from everywhere.
    if cargo(["deny", "fetch", "db"]).succeeds() {
        return deny_check("Cargo.toml").arg("advisories").run();
    }
    eprintln!(
        "WARNING: ADVISORIES NOT CHECKED: the database of security advisories cannot be fetched from here"
    );
    Ok(())
}

fn deny_check(manifest: &str) -> Command {
    cargo(["deny", "--log-level", "error", "--config", "deny.toml", "--manifest-path", manifest])
        .args(["check", "--hide-inclusion-graph"])
}
