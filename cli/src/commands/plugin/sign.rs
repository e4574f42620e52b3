//! `meshctl plugin key` and `plugin sign`: for those who publish plugins. Talks to no node.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use etcetera::BaseStrategy;
use mesh_node::api::{ApiError, Code, Time, code};
use mesh_plugin_host::package::is_package;
use mesh_plugin_host::sign::{SecretKey, Signed};
use mesh_plugin_host::{Inspection, Package, inspect};
use serde::Serialize;

use super::{Context, local, read_plugin};
use crate::output::human::{self, DIM, styled};
use crate::output::{Pair, Show, View, now, undo};

/// Bytes of a key file, at most: one line of 100.
const KEY_FILE_BYTES: u64 = 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Ten years: beyond it a typing error is more likely than an intention.
const LONGEST: Duration = Duration::from_secs(3660 * 24 * 3600);

/// Keys that sign plugins.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key, readable by you alone; refuses to overwrite one.
    #[command(after_long_help = "\
Examples:
  meshctl plugin key new
  meshctl plugin key new --out acme.key
  meshctl plugin key new --out acme.key -o name     print the public key only")]
    New {
        /// Where the secret key goes; $XDG_CONFIG_HOME/mesh/plugin-signing.key when absent.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the public key of a key file, which others trust.
    #[command(after_long_help = "\
Examples:
  meshctl plugin key show
  meshctl plugin key show acme.key -o name")]
    Show {
        /// The key file; $XDG_CONFIG_HOME/mesh/plugin-signing.key when absent.
        file: Option<PathBuf>,
    },
}

/// Sign a component or package, and write a package.
#[derive(Debug, Args)]
pub struct Sign {
    /// The component, or a package that gets one more signature; what was built of the project here when absent.
    file: Option<PathBuf>,
    /// The key file; $XDG_CONFIG_HOME/mesh/plugin-signing.key when absent.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How long the signature holds, such as 90d, 12h or 30m; for ever when absent.
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
    /// The package; the file's name with .meshpkg when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A key, as it is printed.
#[derive(Debug, Serialize)]
struct KeyReport {
    key: String,
    file: PathBuf,
    new: bool,
    dry_run: bool,
    undo: Option<String>,
}

/// What was signed.
#[derive(Debug, Serialize)]
struct SignReport {
    plugin: String,
    version: String,
    revision: String,
    world: String,
    slot: String,
    grants: Vec<String>,
    key: String,
    signed_at: Time,
    expires_at: Option<Time>,
    signatures: usize,
    package: PathBuf,
    size_bytes: u64,
    dry_run: bool,
    undo: Option<String>,
}

impl Key {
    /// Makes or shows a key.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        match self {
            Key::New { out } => new_key(&out.map_or_else(default_key_file, Ok)?, context),
            Key::Show { file } => {
                let file = file.map_or_else(default_key_file, Ok)?;
                let key = read_key(&file)?.public().to_string();
                context.out.print(None, &KeyReport { key, file, new: false, dry_run: false, undo: None })
            }
        }
    }
}

fn new_key(file: &Path, context: &Context) -> Result<(), ApiError> {
    let key = SecretKey::generate().map_err(|error| ApiError::new(&code::INTERNAL, error))?;
    let dry_run = context.globals.dry_run;
    if file.exists() {
        return Err(ApiError::new(
            &code::BAD_SIGNING_KEY,
            "there is a file already, and keys are not overwritten",
        )
        .fact("file", file.display())
        .help("meshctl plugin key new --out OTHER"));
    }
    if !dry_run {
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir).map_err(|error| failed(&code::FILE_FAILED, file, &error))?;
        }
        write_new_key(file, &key).map_err(|error| failed(&code::FILE_FAILED, file, &error))?;
    }
    let undo = (!dry_run).then(|| undo::rm([file]));
    // A rehearsal's key is gone with the process, so it is not shown as if it were one.
    let public = if dry_run { String::new() } else { key.public().to_string() };
    context.out.print(None, &KeyReport { key: public, file: file.to_owned(), new: true, dry_run, undo })
}

// `create_new` refuses links and files of any kind, also one that came after the check.
fn write_new_key(path: &Path, key: &SecretKey) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.to_text().as_bytes())?;
    file.sync_all()
}

fn read_key(path: &Path) -> Result<SecretKey, ApiError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            failed(&code::BAD_SIGNING_KEY, path, &"there is no such key file").help("meshctl plugin key new")
        }
        _ => failed(&code::FILE_FAILED, path, &error),
    })?;
    let mode = file.metadata().map_err(|error| failed(&code::FILE_FAILED, path, &error))?.mode();
    if mode & 0o077 != 0 {
        let open = format!("the key file is open to others (mode {:04o})", mode & 0o7777);
        return Err(failed(&code::BAD_SIGNING_KEY, path, &open).help(format!("chmod 600 {}", path.display())));
    }
    let mut text = zeroize::Zeroizing::new(String::with_capacity(KEY_FILE_BYTES as usize));
    let read = file.take(KEY_FILE_BYTES).read_to_string(&mut text);
    read.map_err(|_| failed(&code::BAD_SIGNING_KEY, path, &"it is no text"))?;
    SecretKey::parse(&text).map_err(|error| failed(&code::BAD_SIGNING_KEY, path, &error))
}

fn default_key_file() -> Result<PathBuf, ApiError> {
    let dirs = etcetera::base_strategy::Xdg::new()
        .map_err(|_| ApiError::new(&code::NO_HOME, "there is no home directory for the key"))?;
    Ok(dirs.config_dir().join("mesh").join("plugin-signing.key"))
}

impl Sign {
    /// Signs what was read, writes the package, and says what was signed.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let key = read_key(&self.key.clone().map_or_else(default_key_file, Ok)?)?;
        let file = self.file.clone().map_or_else(local::built_here, Ok)?;
        let bytes = read_plugin(&file)?;
        let refused = |error: ApiError| error.fact("file", file.display());
        // What a node would refuse is not signed: the signature would only mislead.
        let report = mesh_node::inspect_report(&bytes).map_err(refused)?;
        // A new signature is what mends one that has ended.
        let has_ended = |finding: &&String| finding.starts_with(code::SIGNATURE_EXPIRED.id);
        if let Some(finding) = report.findings.iter().find(|finding| !has_ended(finding)) {
            let error = ApiError::new(&code::CANNOT_SIGN, format!("a node would refuse it: {finding}"));
            return Err(refused(error).help(format!("meshctl plugin inspect {}", undo::quoted(&file))));
        }
        let (component, mut signatures) = parts(&bytes).map_err(refused)?;
        let inspection = inspect(component).map_err(|error| ApiError::new(&code::CANNOT_SIGN, error))?;
        let at = now();
        let expires_ms = self.expires.map(|time| at.0.saturating_add(time.as_millis() as u64));
        let signed = Signed::new(&key, &inspection, at.0, expires_ms)
            .map_err(|error| refused(ApiError::new(&code::CANNOT_SIGN, error)))?;
        // A key that signs again replaces what it said before.
        signatures.retain(|other| other.statement().signer != key.public());
        signatures.push(signed.clone());
        let package = encode(component, &inspection, signatures.clone()).map_err(refused)?;
        let out = self.out.clone().unwrap_or_else(|| file.with_extension("meshpkg"));
        let dry_run = context.globals.dry_run;
        // What stood there cannot be brought back.
        let undo = (!dry_run && !out.exists()).then(|| undo::rm([out.as_path()]));
        if !dry_run {
            write_package(&out, &package).map_err(|error| failed(&code::FILE_FAILED, &out, &error))?;
        }
        let report = report_of(&signed, signatures.len(), out, package.len(), dry_run);
        context.out.print(None, &SignReport { undo, ..report })
    }
}

fn parts(bytes: &[u8]) -> Result<(&[u8], Vec<Signed>), ApiError> {
    if !is_package(bytes) {
        return Ok((bytes, Vec::new()));
    }
    let package = Package::decode(bytes).map_err(|error| ApiError::new(&code::BAD_PACKAGE, error))?;
    Ok((package.component, package.signatures))
}

fn encode(component: &[u8], inspection: &Inspection, signatures: Vec<Signed>) -> Result<Vec<u8>, ApiError> {
    let manifest = inspection.manifest_bytes.as_deref().unwrap_or_default();
    let package = Package { manifest, component, signatures };
    package.encode().map_err(|error| ApiError::new(&code::CANNOT_SIGN, error))
}

/// Writes beside its place and moves it there, so that nobody installs half a package or component.
pub fn write_package(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".meshpkg-").tempfile_in(dir)?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

fn report_of(signed: &Signed, signatures: usize, package: PathBuf, size: usize, dry_run: bool) -> SignReport {
    let statement = signed.statement();
    SignReport {
        plugin: statement.name.clone(),
        version: statement.version.clone(),
        revision: mesh_plugin_host::Revision {
            name: String::new(),
            version: String::new(),
            digest: statement.digest,
        }
        .digest_text(),
        world: statement.world.clone(),
        slot: statement.slot.clone(),
        grants: statement.grants.clone(),
        key: statement.signer.to_string(),
        signed_at: Time(statement.signed_ms),
        expires_at: statement.expires_ms.map(Time),
        signatures,
        package,
        size_bytes: size as u64,
        dry_run,
        undo: None,
    }
}

fn failed(code: &'static Code, path: &Path, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(code, error).fact("file", path.display())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let form = || "a time is a number with d, h, m or s, such as 90d".to_owned();
    let unit = text.chars().last().ok_or_else(form)?;
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| form())?;
    let unit = match unit {
        'd' => DAY,
        'h' => Duration::from_secs(3600),
        'm' => Duration::from_secs(60),
        's' => Duration::from_secs(1),
        _ => return Err(form()),
    };
    match unit.checked_mul(number) {
        Some(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        _ => Err("a signature holds for 1s to 3660d".to_owned()),
    }
}

impl Show for KeyReport {
    const SCHEMA: &'static str = "plugin-key";

    fn view(&self) -> View {
        if self.dry_run {
            return View::Text(format!("a key would be made in {}\n", self.file.display()));
        }
        let mut pairs = vec![Pair::new("key", "public key", &self.key)];
        pairs.push(Pair::new("file", "secret key", human::safe(&self.file.display().to_string())));
        if let Some(undo) = &self.undo {
            pairs.push(Pair::new("undo", "undo", human::safe(undo)));
        }
        let next = format!(
            "on nodes that shall take your plugins: meshctl plugin trust add {} --for 'YOU/*'",
            self.key
        );
        View::Parts(vec![View::Pairs(pairs), View::Text(format!("{}\n", styled(DIM, next)))])
    }

    fn names(&self) -> Vec<String> {
        Some(self.key.clone()).filter(|key| !key.is_empty()).into_iter().collect()
    }
}

impl Show for SignReport {
    const SCHEMA: &'static str = "plugin-sign";

    fn view(&self) -> View {
        let until = self.expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {at}"));
        let grants = Some(self.grants.join(", ")).filter(|grants| !grants.is_empty());
        let package = human::safe(&self.package.display().to_string());
        let mut pairs = vec![
            Pair::new("plugin", "plugin", format!("{} {}", self.plugin, self.version)),
            Pair::new("revision", "revision", &self.revision),
            Pair::new("world", "world", format!("{}, slot {}", self.world, self.slot)),
            Pair::new("grants", "grants", human::or_dash(grants)),
            Pair::new("key", "signed by", format!("{} {until}", self.key)),
            Pair::new("signatures", "signatures", self.signatures.to_string()),
            Pair::new(
                "package",
                if self.dry_run { "would write" } else { "package" },
                format!("{package} ({})", human::bytes(self.size_bytes)),
            ),
        ];
        if let Some(undo) = &self.undo {
            pairs.push(Pair::new("undo", "undo", human::safe(undo)));
        }
        View::Pairs(pairs)
    }

    fn names(&self) -> Vec<String> {
        vec![self.package.display().to_string()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_has_a_unit_and_an_end() {
        for (text, want) in [
            ("90d", Some(90 * 24 * 3600)),
            ("12h", Some(12 * 3600)),
            ("30m", Some(1800)),
            ("1s", Some(1)),
            ("0d", None),
            ("90", None),
            ("", None),
            ("d", None),
            ("-1d", None),
            ("1ä", None),
            ("4000d", None),
        ] {
            assert_eq!(lifetime(text).ok().map(|time| time.as_secs()), want, "{text}");
        }
    }
}
